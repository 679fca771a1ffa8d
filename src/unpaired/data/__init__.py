"""Data sets: where they are, what they hold, batches of them."""
