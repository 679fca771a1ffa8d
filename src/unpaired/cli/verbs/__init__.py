"""The verbs of the command line, one file each; `unpaired.cli.parser` lists them."""
