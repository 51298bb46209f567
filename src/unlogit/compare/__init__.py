"""Methods beside each other on one split."""
