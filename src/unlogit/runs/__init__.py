"""The steps of a run folder; each returns values and leaves printing to its caller."""
