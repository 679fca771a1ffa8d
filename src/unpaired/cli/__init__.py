"""The command line: one file a verb; read by `parser`, run by `main`."""
