"""Recipes of sets, and the methods and settings they consist of. Importing this loads no torch."""
