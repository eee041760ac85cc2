"""What a set is made by: methods, their settings, and recipes. Importing it loads no torch."""
