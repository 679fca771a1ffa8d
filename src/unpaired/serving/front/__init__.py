"""The front of a server: one event loop that never decodes an image and imports no framework."""
