"""Checks every draw, log-probability, loss and bound by oracles of its own: one table, and 1 as the exit status where
one fails.

A right library fails a run with a chance of one in a million. Errors of numbers are in units of what the docstrings
promise.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from battery import bits, draws, independence, log_probs, losses, results, words
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


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python tests/battery", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="all by default: words, independence, log-probs, ...")
    parser.add_argument("--minutes", type=float, default=10, help="in all, about (default: %(default)g)")
    parser.add_argument("--draws", type=float, default=1e8, help="of an op, at most (default: %(default)g)")
    parser.add_argument("--seed", type=int, help="of all random numbers; a new one by default, which is printed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the table, too")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if not (options.minutes > 0 and options.draws >= 1):
        parser.error("--minutes must be above 0, and --draws at least 1")
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    started, rows = time.monotonic(), []
    print(f"seed {seed}", flush=True)
    parts = options.parts or list(PARTS)
    for name, found in zip(parts, run(parts, seed, options.minutes, int(options.draws)), strict=True):
        rows += found
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    rows += results.pooled(rows)
    level = results.threshold(rows)
    print(results.HEADER)
    for row in rows:
        print(results.told(row, level))
    bad = [row for row in rows if results.failed(row, level)]
    for row in bad:
        print(f"FAILED {row.what}: {row.worst}")
    chances = sum(len(row.chances + row.bounds) for row in rows)
    print(
        f"{chances} p values, by Holm's method with a chance of {results.FALSE_ALARM:g} of any false alarm; "
        f"{len(bad)} of {len(rows)} lines failed; {time.monotonic() - started:.0f} s"
    )
    if options.json is not None:
        made = {"seed": seed, "minutes": options.minutes, "draws": options.draws, "p_values": chances}
        lines = [results.as_json(row, level) for row in rows]
        options.json.write_text(json.dumps({**made, "rows": lines}, indent=1) + "\n")
    return int(bool(bad))
