"""Exact translation of images of any size, tile by tile, in little memory: docs/streaming.md.

`windows` is what is read and written, `stages` the passes over tiles, `driver` runs them; `moments`
are the statistics of norms, `arrays` the scratch between passes, `journal` what a kill leaves.
"""
