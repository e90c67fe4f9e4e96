"""Every draw against the exact law of each of its cases."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable

import numpy as np

import fastblackout as fb
from battery.cells import Cells, g_test, tail_test
from battery.element_draws import Draw, element_draws
from battery.results import Row
from battery.state_draws import state_draws
from battery.step_draws import step_draws

CHUNK = 1 << 20  # draws of a call


def all_draws() -> list[Draw]:
    return [*element_draws(), *step_draws(), *state_draws()]


def seed_of(seed: int, name: str) -> int:
    """A seed of 64 bits for one part of a run."""
    return int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1, np.uint64)[0])


class Counted:
    """A draw with what was counted of it so far."""

    def __init__(self, draw: Draw, seed: int) -> None:
        self.draw, self.calls, self.drawn = draw, 0, 0
        words = np.random.default_rng(seed_of(seed, draw.name)).integers(0, 1 << 32, 4).tolist()
        self.key = fb.Philox(words[0] << 32 | words[1], first_sample=words[2] >> 1, call=words[3] >> 1)
        started = time.monotonic()
        self.laws: list[Cells] = draw.laws()
        self.counts = [np.zeros(len(law.mass), dtype=np.int64) for law in self.laws]
        self.seconds = time.monotonic() - started

    def more(self, most: int) -> None:
        started = time.monotonic()
        m = max(8, min(CHUNK, most) // len(self.laws) // 8 * 8)
        drawn = self.draw.draw(self.key.at(call=self.key.call + self.calls), m)
        for at, law in enumerate(self.laws):
            self.counts[at] += law.count(np.ascontiguousarray(drawn[:, at]))
        self.calls, self.drawn = self.calls + 1, self.drawn + drawn.size
        self.seconds += time.monotonic() - started

    def row(self) -> Row:
        pairs = list(zip(self.counts, self.laws, strict=True))
        tests = [g_test(seen, law.mass) for seen, law in pairs]
        bounds = [tail_test(seen, law.mass) for seen, law in pairs]
        chances = [p for p in tests if p is not None]
        _, worst = min((p, at % len(pairs)) for at, p in enumerate(tests + bounds) if p is not None)
        return Row(self.draw.name, self.drawn, len(pairs), self.seconds, chances, bounds, worst=f"case {worst}")


def check(draws: Iterable[Draw], seed: int, each: int, deadline: float) -> list[Row]:
    """A row for each. All have about equally many draws, `each` or as many as there is time for, at least a call."""
    counted = [Counted(draw, seed) for draw in draws]
    open_ = True
    while open_:
        open_ = False
        for one in counted:
            if one.drawn < each and (one.calls == 0 or time.monotonic() < deadline):
                one.more(each)
                open_ = True
    return [one.row() for one in counted]
