"""Data sets: found by layout or name, fetched, checked, and read as the batches of a training."""
