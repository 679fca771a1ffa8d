"""Fetching a named data set from a server that is not trusted: connection, download, unpacking."""
