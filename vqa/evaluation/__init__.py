"""Predict in batches, and score what was predicted."""
