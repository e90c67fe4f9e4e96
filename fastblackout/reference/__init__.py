"""Readable NumPy twins of every kernel: the same keys, the same order of operations, the same integers to the bit."""
