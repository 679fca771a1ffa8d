"""A page without a server: a folder for any static host, which translates in the browser."""
