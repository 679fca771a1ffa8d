"""Connections to servers that are not trusted."""
