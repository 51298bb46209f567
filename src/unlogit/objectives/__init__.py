"""Training objectives, one loss a file: paper, formula, pure function."""
