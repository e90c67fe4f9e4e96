"""Classical tests of the words of keyed streams, along each word of the counter and of the key."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy import special, stats

from battery.cells import g_test
from battery.draws import seed_of
from battery.results import Row
from fastblackout.reference.philox import Stream, philox4x32

Words = Callable[..., tuple[np.ndarray, ...]]
COUNTERS = ("element", "sample", "call", "stream", "seed", "upper seed")
BLOCKS = 1 << 16
_POWERS = (np.uint32(1) << np.arange(32, dtype=np.uint32)).astype(np.uint32)


def sequence(words: Words, moving: str, random: np.random.Generator) -> np.ndarray:
    """The words of BLOCKS blocks, one word of whose counter or key goes up by 1 from somewhere."""
    start = random.integers(0, 1 << 32, 6, dtype=np.uint64)
    start[3] = int(random.choice(list(Stream))) << 24
    at = COUNTERS.index(moving)
    steps = np.arange(BLOCKS, dtype=np.uint64)
    if moving == "stream":  # the trials of all streams
        steps = np.array(Stream, dtype=np.uint64)[steps % len(Stream)] << np.uint64(24) | steps // len(Stream)
        start[3] = 0
    given = [np.full(BLOCKS, word) for word in start]
    given[at] = given[at] + steps & np.uint64(0xFFFFFFFF)
    return np.stack(words(*(each.astype(np.uint32) for each in given)), 1).ravel()


class Tally:
    """Counts of several tests of words; each is exact or has a large number of cells."""

    def __init__(self) -> None:
        self.bits = np.zeros(32, np.int64)
        self.pairs = np.zeros((32, 32), np.int64)  # of bits of neighbouring words that differ
        self.bytes = np.zeros((4, 256), np.int64)
        self.serial = np.zeros((2, 4096), np.int64)  # the upper, and the lower, 6 bits of neighbours
        self.weights = np.zeros(33, np.int64)
        self.runs = np.zeros(7, np.int64)
        self.ranks = np.zeros(33, np.int64)
        self.spacings = self.birthdays = self.words = 0

    def add(self, words: np.ndarray) -> None:
        bits = (words[:, None] >> np.arange(32, dtype=np.uint32) & 1).astype(np.float32)
        self.words += len(words)
        self.bits += bits.sum(0, dtype=np.float64).astype(np.int64)
        # How often bit i of one and bit j of the next differ: from their counts and the count of both.
        first, second = bits[:-1:2], bits[1::2]
        both = (first.T @ second).astype(np.float64)
        self.pairs += (first.sum(0)[:, None] + second.sum(0)[None] - 2 * both).astype(np.int64)
        for place in range(4):
            self.bytes[place] += np.bincount(words >> np.uint32(8 * place) & 255, minlength=256)
        for row, part in enumerate((words >> np.uint32(26), words & 63)):
            self.serial[row] += np.bincount(part[:-1:2] * 64 + part[1::2], minlength=4096)
        self.weights += np.bincount(bits.sum(1).astype(np.int64), minlength=33)
        self.runs += _runs_up(words)
        self.ranks += np.bincount(_ranks(words.reshape(-1, 32)), minlength=33)
        days = words.reshape(-1, 4096)
        gaps = np.sort(np.diff(np.sort(days, axis=1), axis=1, prepend=0), axis=1)
        self.spacings += int((np.diff(gaps, axis=1) == 0).sum())
        self.birthdays += len(days)

    def chances(self) -> dict[str, float | None]:
        total, half = self.words, self.words // 2
        length = np.arange(1, 7)
        run_law = length / special.factorial(length + 1)
        rank_law = np.array([_rank_chance(rank) for rank in range(33)])
        expected = 4096**2 * 4095 / 2**34 * self.birthdays
        low, high = stats.poisson.cdf(self.spacings, expected), stats.poisson.sf(self.spacings - 1, expected)
        return {
            "bits": float(stats.chi2.sf(((self.bits - total / 2) ** 2 / (total / 4)).sum(), 32)),
            "pairs of bits": float(stats.chi2.sf(((self.pairs - half / 2) ** 2 / (half / 4)).sum(), 1024)),
            **{f"byte {at}": g_test(seen, np.full(256, 1 / 256)) for at, seen in enumerate(self.bytes)},
            "upper bits of neighbours": g_test(self.serial[0], np.full(4096, 1 / 4096)),
            "lower bits of neighbours": g_test(self.serial[1], np.full(4096, 1 / 4096)),
            "weights": g_test(self.weights, stats.binom.pmf(np.arange(33), 32, 0.5)),
            "runs up": g_test(self.runs, np.append(run_law, 1 - run_law.sum())),
            "ranks": g_test(self.ranks, rank_law),
            "birthday spacings": float(min(1.0, 2 * min(low, high))),
        }


def _runs_up(words: np.ndarray) -> np.ndarray:
    """Of every eight words, how many go up from the first on: 1..6, or more."""
    eights = words.reshape(-1, 8)
    lengths = 1 + np.cumprod(eights[:, 1:] > eights[:, :-1], axis=1).sum(1)
    return np.bincount(np.minimum(lengths, 7), minlength=8)[1:]


def _ranks(rows: np.ndarray) -> np.ndarray:
    """Ranks over GF(2) of matrices of 32 words, (K, 32)."""
    rows, rank = rows.copy(), np.zeros(len(rows), np.int64)
    every = np.arange(len(rows))
    for bit in _POWERS:
        has = (rows & bit) != 0
        pivot, some = has.argmax(1), has.any(1)
        row = np.where(some, rows[every, pivot], 0).astype(np.uint32)
        rows ^= np.where(has, row[:, None], 0).astype(np.uint32)  # the pivot becomes 0, too
        rank += some
    return rank


def _rank_chance(rank: int) -> float:
    i = np.arange(rank, dtype=np.float64)
    log = rank * (64 - rank) - 1024 + (2 * np.log2(1 - 2.0 ** (i - 32)) - np.log2(1 - 2.0 ** (i - rank))).sum()
    return float(2.0**log)


def check(words: Words, seed: int, rounds: int, deadline: float, counters: Sequence[str] = COUNTERS) -> list[Row]:
    """A row for each word of the counter and of the key that goes up."""
    random = np.random.default_rng(seed_of(seed, "words"))
    tallies, seconds, done = [Tally() for _ in counters], [0.0] * len(counters), 0
    while done < rounds and (done == 0 or time.monotonic() < deadline):
        for at, moving in enumerate(counters):
            started = time.monotonic()
            tallies[at].add(sequence(words, moving, random))
            seconds[at] += time.monotonic() - started
        done += 1
    rows = []
    for moving, tally, took in zip(counters, tallies, seconds, strict=True):
        found = {name: p for name, p in tally.chances().items() if p is not None}
        what, worst = f"words along the {moving}", min(found, key=found.__getitem__)
        rows.append(Row(what, tally.words, len(found), took, list(found.values()), worst=worst))
    return rows


philox: Words = philox4x32
