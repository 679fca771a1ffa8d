"""Generators in ONNX, the open format of networks, and the two runtimes that execute it.

`graph` writes a generator, `file` a file of one with what it says of itself, `quantise` measures
what 8 bits need; `onnxruntime` and `openvino` translate. Nothing here needs an engine.
"""
