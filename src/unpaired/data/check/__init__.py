"""The check of a data set: every image decoded once, problems, and the facts a training needs."""
