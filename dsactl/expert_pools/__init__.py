"""Pools of experts: networks trained on the real images of a training split, made once and kept in the store."""
