"""The built-in data set `seasons`: drawn landscapes with a known translation."""
