"""Condensation methods: one package for each, and one interface for all."""
