"""A worker of a server: one process a device, which decodes, translates and encodes images."""
