"""Runs of methods: jobs, checkpoints and costs."""
