"""Commands: their flags, messages and exit codes."""
