"""Rasters through rasterio (extra `geo`): codecs Pillow lacks, georeferenced files, windows.

`codec` decodes single images that Pillow would cut. `scene` opens GeoTIFFs and VRTs and reads
windows of them, `geo` is what they say besides their pixels, and `write` writes GeoTIFFs.
"""
