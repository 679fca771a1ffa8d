"""Training at a larger scale: several processes (`together`), larger batches (`large_batch`)."""
