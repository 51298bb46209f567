"""The demo: made-up people, a tiny model, SmolLM2."""
