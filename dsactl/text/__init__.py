"""Text for people: tables, and human-readable numbers."""
