"""The program as it is installed: what is built, and what is installed from it."""
