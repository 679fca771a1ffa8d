"""Metrics: pure functions of two sets of images, and their catalogue."""
