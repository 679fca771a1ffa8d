"""The command line: one file a verb; `main` has the parser, `flags` makes flags of fields."""
