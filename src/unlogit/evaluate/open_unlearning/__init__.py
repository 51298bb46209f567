"""OpenUnlearning's protocol: its tokens, formulas and files."""
