"""Weights in other projects' formats, in and out."""
