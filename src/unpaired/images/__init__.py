"""Images in memory and on disk: formats, reading, writing, resizing."""
