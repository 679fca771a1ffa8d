"""Translating images with a trained model: arrays, files, folders.

`model` is what `unpaired.load` returns, `sizes` an image's way to the network and back, `memory`
the estimate of what it needs, `precision` the choice of the arithmetic, `jobs` and `files` the
translation of whole folders.
"""
