"""Accuracy over the minutes that making a set takes."""
