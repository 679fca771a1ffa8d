"""The command line: read by `parser`, run by `main`; one file a verb in `verbs`."""
