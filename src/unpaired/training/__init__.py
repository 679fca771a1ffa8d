"""Training: start reading at `loop`; each other file is one of its parts."""
