"""Benchmarks: engines beside a plain reference, in turns. `bench` plans, `plain` is the yardstick.

Every contestant runs in a process of its own (`worker`), so that memory is measured honestly,
frameworks do not share threads, and one that fails ends nothing else.
"""
