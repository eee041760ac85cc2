"""Command line: one module per command, one module that prints, one table of errors."""
