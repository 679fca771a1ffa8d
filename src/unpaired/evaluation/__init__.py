"""Measuring models on a test set, beside baselines and floors."""
