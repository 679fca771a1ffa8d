"""The checks, one file per failure; `unpaired.diagnostics.detect` lists and runs them."""
