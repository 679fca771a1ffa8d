"""The layouts of data sets: what is listed in a folder, and which folders are the two domains."""
