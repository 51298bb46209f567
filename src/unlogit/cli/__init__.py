"""The command line: reads flags, calls a step, shows what it returned."""
