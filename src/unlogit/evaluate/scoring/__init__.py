"""What a model does on rows: losses, greedy hits and generated answers."""
