"""Training objectives, one a file: paper, formula, pure function."""

from unlogit.objectives.uld import uld

OBJECTIVES = {"uld": uld}
"""Objectives by name."""
