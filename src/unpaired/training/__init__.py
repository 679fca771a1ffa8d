"""Training: the loop, the run folder, validation, the journal."""
