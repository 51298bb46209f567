"""One metric a file, each a pure function of scores."""
