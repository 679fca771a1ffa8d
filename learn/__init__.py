"""A course on unpaired translation in five notebooks, with exercises that are checked.

It is a plain package at the root of the repository, and no part of the wheel: run it from there.
`lessons/` holds the one source of every notebook, solutions included; `build` writes the notebooks
with blanks, `check` checks what a reader fills in and prints solutions; `checks/` knows the right
answers and the common wrong ones. `scenes` and `draw` are what the notebooks load and draw with.
"""
