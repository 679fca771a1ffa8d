"""What commonly goes wrong in a training, and the checks that find it."""
