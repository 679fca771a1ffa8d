"""The report of an evaluation: data, verdict, page, files."""
