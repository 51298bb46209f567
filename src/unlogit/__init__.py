"""unlogit: make a large language model forget given documents by logit difference, and measure how well it forgot."""

__version__ = "0.1.0"
