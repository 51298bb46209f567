"""Every setting once: options, command-line flags, the YAML form."""
