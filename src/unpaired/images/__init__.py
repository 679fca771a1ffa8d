"""Images in memory and on disk: formats, reading, writing, resizing.

A new image format is one entry of the table in `formats`.
"""
