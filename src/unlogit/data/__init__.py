"""What to forget, what to keep and what no request concerns: reading, preparing, encoding and batching."""
