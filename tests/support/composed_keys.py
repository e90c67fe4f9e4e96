"""The keys of the draws that split, multinomial and skellam are made of, by Python integers alone."""

import dataclasses

from fastblackout.reference.philox import Stream

_WORD = 2**64 - 1


def key_of(rng, stream, number):
    """Of draw `number`: the seed XOR SplitMix64's output for the state (stream 2^24 + number) times its constant."""
    z = (int(Stream[stream]) * 2**24 + number) * 0x9E3779B97F4A7C15 & _WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _WORD
    return dataclasses.replace(rng, seed=rng.seed ^ z ^ (z >> 31))
