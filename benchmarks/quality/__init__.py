"""Judges samples by networks that took no part in choosing how they are drawn: `python benchmarks/quality MODEL`."""
