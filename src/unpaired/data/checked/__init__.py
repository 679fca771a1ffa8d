"""What the check of a data set keeps of every image, and the problems found in that."""
