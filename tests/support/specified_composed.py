"""docs/draw.md as a program: ops that are made of draws of others (see specified_words.py)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import fastblackout as fb
from support.specified_counts import binomial, poisson, thin
from support.specified_reals import beta_binomial
from support.specified_words import STREAMS, drawn


def key_of(key: fb.Philox, stream: str, number: int) -> fb.Philox:
    """The key of draw `number` of an op."""
    z = (STREAMS[stream] << 24 | number) * 0x9E3779B97F4A7C15 % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return fb.Philox(key.seed ^ z ^ z >> 31, first_sample=key.first_sample, call=key.call)


def skellam(rate_1: Any, rate_2: Any, key: fb.Philox) -> Any:
    first, second = (poisson(rate, key_of(key, "SKELLAM", n)) for n, rate in enumerate((rate_1, rate_2)))
    return np.reshape(np.subtract(first, second), rate_1.shape)


def total(weights: list[float]) -> float:
    return list(itertools.accumulate(weights, initial=0.0))[-1]


def split(counts: Any, weights: list[float], overdispersion: float | None, key: fb.Philox) -> list[Any]:
    def left(whole: Any, a: float, b: float, number: int) -> Any:
        own = key_of(key, "SPLIT", number)
        if overdispersion is None:
            return np.reshape(binomial(whole, a / (a + b), b / (a + b), own), whole.shape)
        shapes = (overdispersion * (each / total(weights)) for each in (a, b))
        return np.reshape(drawn(beta_binomial, own, whole, *shapes), whole.shape)

    return _parts(counts, weights, 0, left)


def _parts(whole: Any, weights: list[float], first: int, left: Callable[..., Any]) -> list[Any]:
    if len(weights) == 1:
        return [whole]
    h = len(weights) // 2
    some = left(whole, total(weights[:h]), total(weights[h:]), first + h)
    return _parts(some, weights[:h], first, left) + _parts(whole - some, weights[h:], first + h, left)


def multinomial(counts: Any, weights: list[float], key: fb.Philox) -> Any:
    """weights: of all elements alike."""
    levels = [weights]
    while len(levels[-1]) > 1:
        last = levels[-1]
        alone = last[-1:] if len(last) % 2 else []
        levels.append([a + b for a, b in zip(last[::2], last[1::2], strict=False)] + alone)
    parts = counts[..., None]
    for level, below in enumerate(levels[-2::-1]):
        pairs = list(zip(below[::2], below[1::2], strict=False))
        p = np.array([a / (a + b) if a + b > 0 else 1.0 for a, b in pairs])
        q = np.array([b / (a + b) if a + b > 0 else 0.0 for a, b in pairs])
        divided = parts[..., : len(pairs)]
        first = np.reshape(binomial(divided, p, q, key_of(key, "MULTINOMIAL", level)), divided.shape)
        both = np.stack([first, divided - first], -1).reshape(*counts.shape, 2 * len(pairs))
        parts = np.concatenate([both, parts[..., len(pairs) :]], -1)
    return parts


def cell_thin(counts: Any, p: float, q: float, key: fb.Philox) -> Any:
    """counts: above 0, of one cell, which is the first sample of the key."""
    return thin(np.array([counts]), [(p, q)], key)[0]


def cell_split(counts: Any, weights: list[float], key: fb.Philox) -> list[Any]:
    def left(whole: Any, a: float, b: float, number: int) -> Any:
        return cell_thin(whole, a / (a + b), b / (a + b), key_of(key, "SPLIT", number))

    return _parts(counts, weights, 0, left)


def cell_downsample(counts: list[int], depth: int, key: fb.Philox) -> list[int]:
    x, kept, sign, total, r = list(counts), [0] * len(counts), 1, sum(counts), 0
    wanted = min(depth, total)
    while wanted > 0:
        spare = 2 * math.sqrt(wanted) + 1 if 8 * wanted <= total else 0.0
        p = (wanted + spare) / total
        places = [n for n, count in enumerate(x) if count > 0]
        own = iter(cell_thin([x[n] for n in places], p, 1 - p, key_of(key, "DOWNSAMPLE", r)).tolist())
        s = [next(own) if count > 0 else 0 for count in x]
        kept = [k + sign * a for k, a in zip(kept, s, strict=True)]
        if sum(s) > wanted:
            x, total, sign, wanted = s, sum(s), -sign, sum(s) - wanted
        else:
            x, total, wanted = [a - b for a, b in zip(x, s, strict=True)], total - sum(s), wanted - sum(s)
        r += 1
    return kept
