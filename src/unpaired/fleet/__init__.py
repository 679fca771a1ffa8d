"""Many images on many machines: plain shards for job arrays, and Ray Data.

`one` translates one image (`translate_bytes` is what all engines run), `pipeline` many, one after
another. `places` are folders and URLs, `shards` the share of a process, `manifest` what became of
each image, `record` what a destination was begun with.
"""
