"""The folders of a data set: what is listed in one, and which of them are the two domains."""
