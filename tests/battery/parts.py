"""The parts of the battery, with the share of time and the amount of work of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from battery import bits, draws, independence, log_probs, losses, words
from battery.results import Row


class Part(NamedTuple):
    """share: of the time. check(seed, amount, deadline). amount: of work at a night, which ends before its share does
    where the machine is fast."""

    share: float
    amount: int
    check: Callable[[int, int, float], list[Row]]


PARTS = {
    "words": Part(0.06, 400, lambda *how: words.check(words.philox, *how)),
    "independence": Part(0.08, 200, lambda *how: independence.check(independence.samples(), *how)),
    "log-probs": Part(0.16, 10_000, lambda *how: log_probs.check(log_probs.LOG_PROBS, *how)),
    "losses": Part(0.06, 2_000, lambda *how: losses.check(*how)),
    "bits": Part(0.06, 50, lambda *how: bits.check(bits.HEADS, *how)),
    "draws": Part(0.58, 10**8, lambda *how: draws.check(draws.all_draws(), *how)),
}


def run(parts: list[str], seed: int, minutes: float, each: int) -> Iterator[list[Row]]:
    """The rows of each part. Time that one leaves goes to those after it. each: draws of an op."""
    end, shares = time.monotonic() + 60 * minutes, sum(PARTS[name].share for name in parts)
    for name in parts:
        part, now = PARTS[name], time.monotonic()
        deadline = now + (end - now) * part.share / shares
        yield part.check(seed, each if name == "draws" else part.amount, deadline)
        shares -= part.share
