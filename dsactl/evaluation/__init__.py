"""Evaluation of sets: the protocol, training and testing of networks, and a cache of their results."""
