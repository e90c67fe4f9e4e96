"""Fuzzers of all that reads files of strangers: data, checkpoints, other programs' weights, logs."""
