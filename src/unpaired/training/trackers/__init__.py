"""Trackers that a training tells what it does, beside metrics.jsonl: MLflow, Weights & Biases."""
