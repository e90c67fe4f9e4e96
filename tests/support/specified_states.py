"""docs/draw.md as a program: draws of states (see specified_words.py)."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

from support.specified_floats import F, exp, exp_parts
from support.specified_words import Element, drawn

Pair = tuple[float, float]


def thresholds(weights: list[float]) -> list[int]:
    sums, total = [], 0.0
    for w in weights:
        total = total + w
        sums.append(total)
    factor = 2**48 / total
    last = max(j for j, w in enumerate(weights) if w > 0)
    return [min(math.floor(each * factor), 2**48) if j < last else 2**48 for j, each in enumerate(sums)]


def _state(at: Element, weights: list[float], streams: str) -> int:
    v = at.bits_48(streams, f"{streams}_REFINE")
    return sum(c <= v for c in thresholds(weights))


def categorical(state: Any, matrix: list[list[float]], key: Any) -> list[int]:
    return drawn(lambda at, row: _state(at, matrix[row], "CATEGORICAL"), key, state)


def of_logits(logits: list[float]) -> list[float]:
    rows = [float(F(each)) for each in logits]
    top = max(rows)
    differences = [each - top for each in rows]
    return [0.0 if z < -700 else exp(z) for z in differences]


def categorical_bridge(
    x_t: Any, start: Any, before: list[list[float]], after: list[list[float]], key: Any
) -> list[int]:
    """start: x_0 of each element in C order, or its row of weights."""
    rows = iter(start)

    def draw(at: Element, x: int) -> int:
        given = next(rows)
        x_0 = given if isinstance(given, int) else _state(at, given, "CATEGORICAL_X0")
        weights = [p * after[j][x] for j, p in enumerate(before[x_0])]
        return _state(at, weights, "CATEGORICAL_BRIDGE")

    return drawn(draw, key, x_t)


def bits_of_row(states: int) -> int:
    return min(52, 62 - math.ceil(math.log2(states)))


def categorical_row(at: Element, weights: list[float]) -> int:
    """Of one row."""
    bits = bits_of_row(len(weights))
    largest = max(weights)
    whole = [round(w / largest * 2**bits) for w in weights]
    u = (at.word("CATEGORICAL_ROWS") << 32 | at.word("CATEGORICAL_ROWS_REFINE")) >> 2
    target = u * sum(whole) >> 62
    return sum(each <= target for each in itertools.accumulate(whole))


def chances(t: float) -> tuple[float, float]:
    if t > 708:
        return 0.0, 1.0
    rest, scale = exp_parts(-t)
    return (1 + rest) * scale, (1 - scale) - rest * scale


class Fresh(NamedTuple):
    """The law that states are drawn anew from: of a mask, of all states alike (mask -1), or a row."""

    states: int
    mask: int = -1
    row: tuple[float, ...] = ()

    def draw(self, at: Element, streams: str) -> int:
        h, l = at.word(f"{streams}_STATE"), at.word(f"{streams}_STATE_REFINE")  # noqa: E741
        if self.row:
            return sum(c <= h << 16 | l >> 16 for c in thresholds(list(self.row)))
        return self.mask if self.mask >= 0 else (h << 32 | l) * self.states >> 64

    def inverse(self, state: int) -> float:
        """1 / r(state), infinite where that is 0."""
        if self.row:
            return 1 / self.row[state] if self.row[state] > 0 else math.inf
        return float(self.states) if self.mask < 0 else 1.0 if state == self.mask else math.inf


def _choice(at: Element, streams: str) -> int:
    return at.word(streams) << 16 | at.word(f"{streams}_REFINE") >> 16


def redraw(at: Element, law: Fresh, x_0: int, t: float) -> int:
    stay, _ = chances(t)
    return x_0 if _choice(at, "REDRAW") < math.floor(2**48 * stay) else law.draw(at, "REDRAW")


def redraw_bridge(at: Element, law: Fresh, x_0: int, x_t: int, s: float, further: float) -> int:
    k = law.inverse(x_t)
    if math.isinf(k):
        return x_0
    keep, other = bridge_thresholds(chances(s), chances(further), k, x_0 == x_t)
    v = _choice(at, "REDRAW_BRIDGE")
    return x_0 if v < keep else x_t if v < other else law.draw(at, "REDRAW_BRIDGE")


def bridge_thresholds(before: Pair, after: Pair, k: float, equal: bool) -> tuple[int, int]:
    """keep and other; before and after: stay and leave of both times."""
    (a, c), (b, d) = before, after
    first = a * (b * k + d) if equal else a * (d + 0 * k)
    second, third = c * b, c * d
    two = first + second
    factor = 2**48 / (two + third)
    keep = min(math.floor(first * factor), 2**48) if second + third > 0 else 2**48
    return keep, min(math.floor(two * factor), 2**48) if third > 0 else 2**48
