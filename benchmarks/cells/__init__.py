"""Generators of single cells beside one another, and beside real cells: `python benchmarks/cells --help`."""
