"""Fixed cases of everything that draws, and hashes of what they drew when their stream version was made.

known_answers.json holds the hashes: SHA-256 of the bytes of all outputs in their order, little-endian, C order.

A new draw has its cases in support/draws.py; another new op, or a new law of one, has them here. Run in
tests/, `python -m support.known_cases` adds the hashes that are missing, as the reference draws them; it never changes
one that is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import fastblackout as fb
from fastblackout.atomic_files import atomic_write
from fastblackout.call.elements import DrawKeys
from fastblackout.cells import draws as cell_draws
from fastblackout.data.order import flip_rows, permutation
from fastblackout.reference.philox import Stream
from support.draws import DRAWS
from support.known_values import KEY, SHAPE, between, shapes, spread, units, whole

FILE = Path(__file__).with_name("known_answers.json")
P = np.array([0.3, 0.75, 1e-6, 1.0])  # of samples


def rows(start: int, states: int = 9, shape: tuple[int, ...] = ()) -> Any:
    """Rows of probabilities, some of which are 0. One takes what the others leave, so that no sum is divided by."""
    made = units((*shape, states), start) / (2 * states)
    made[..., 2] = 0.0
    made[..., 0] = 0.0
    for j in range(1, states):
        made[..., 0] = made[..., 0] + made[..., j]
    made[..., 0] = 1.0 - made[..., 0]
    return made


def _thin(most: int, **how: Any) -> Any:
    x_0 = whole(most, 1, "uint8" if most < 256 else "int32")
    return fb.thin(x_0, P, rng=KEY, max_count=most, center=[0.1, 7.0, -3.0, 127.5], scale=0.3, **how)


def _bridge(most: int, **how: Any) -> Any:
    x_t = whole(most // 2, 2, "uint8" if most < 256 else "int32")
    if "births" not in how:
        how |= {"logits": between(-9, 9, 3, "float32"), "gain": [1.0, 40.0, most / 20, 3.3]}
    return fb.bridge_step(x_t, step=P, rng=KEY, max_count=most, center=2.5, scale=0.7, **how)


def _leap(**given: Any) -> Any:
    step, most = [0.3, 2.0, 1e-3, 1e6], 3000
    return fb.tau_leap_step(whole(most, 4, "int32"), step=step, rng=KEY, max_count=most, **given)


def _posterior(family: str, outputs: int, most: int = 255) -> Any:
    head = [between(-6, 6, 5 + j, "float32", SHAPE) for j in range(outputs)]
    how = {"family": family, "offset": [-0.1, -2.0, 0.3, -30.0], "max_count": most, "rng": KEY}
    return fb.posterior_step(whole(most, 4, "int32"), head, P, **how)


def _between(**given: Any) -> Any:
    before, after = rows(20, 9, (9,)), rows(21, 9, (9,))
    before[:, 2] = after[:, 2] = 0.01
    return fb.categorical_bridge(whole(8, 9), **given, before=before, after=after, rng=KEY)


def _redrawn(process: Any) -> Any:
    x_0, t = whole(process.states - 1, 22), spread(23, 0.0, 1e-3, 0.5, 3.0, 1e3)
    x_t = process.sample_forward(x_0, t, rng=KEY)
    return x_t, process.sample_bridge(x_t, x_0, 0.25 * t, t, rng=KEY)


def _categorical(through: Callable[[Any], Any]) -> Any:
    return fb.categorical(whole(8, 9), through(rows(20, 9, (9,))), rng=KEY)


def _of_cells(draw: Callable[..., Any], *how: Any) -> Any:
    counts = whole(900, 18).reshape(len(P), -1) % 400
    drawn = draw(counts[counts > 0], (counts > 0).sum(1), *how)
    return tuple(drawn) if isinstance(drawn, list) else drawn


def _times(draw: str, **times: Any) -> Any:
    return getattr(fb.Schedule.linear(steps=1000), draw)(37, rng=KEY, global_batch=100, like=np.zeros(1), **times)


CASES: dict[str, Callable[[], Any]] = {
    "thin": lambda: _thin(255),
    "thin of counts above 255": lambda: _thin(2000),
    "thin, float16 input": lambda: _thin(255, input_dtype="float16").model_input,
    "bridge_step": lambda: _bridge(255),
    "bridge_step, nearest": lambda: _bridge(255, rounding="nearest"),
    "bridge_step, attrition": lambda: _bridge(255, attrition=[0.1, 0.9, 1.0, 0.0]),
    "bridge_step of counts above 255": lambda: _bridge(4000, attrition=[0.1, 0.9, 1.0, 0.0]),
    "bridge_step of births": lambda: _bridge(255, births=between(0, 80, 3)),
    "tau_leap_step": lambda: _leap(births=spread(3, 0.0, 0.3, 8.0, 400.0, 3e7)),
    "tau_leap_step of logits": lambda: _leap(logits=between(-9, 90, 3, "float32")),
    **{name: call for draw in DRAWS.values() for name, call in draw.CASES.items()},
    "split": lambda: fb.split(whole(900, 18), (0.5, 0.125, 0.375), rng=KEY),
    "split, overdispersion": lambda: fb.split(whole(900, 18), 3, overdispersion=shapes(12), rng=KEY),
    "cells.split": lambda: _of_cells(cell_draws.parts_of, [2.0, 0.5, 1.5], None, DrawKeys(Stream.SPLIT, KEY)),
    "cells.thin": lambda: _of_cells(cell_draws.thinned, P, KEY),
    "cells.downsample": lambda: _of_cells(
        cell_draws.downsampled, np.array([7, 10**6, 40, 1000]), DrawKeys(Stream.DOWNSAMPLE, KEY)
    ),
    "multinomial": lambda: fb.multinomial(whole(900, 18), units((*SHAPE, 5), 19), rng=KEY),
    "skellam": lambda: fb.skellam(spread(8, 0.0, 3.0, 1e3), spread(9, 0.0, 14.0, 1e5), rng=KEY),
    "categorical": lambda: _categorical(lambda probs: probs),
    "categorical, float32": lambda: _categorical(lambda probs: probs.astype("float32")),
    "categorical through a table": lambda: _categorical(fb.CategoricalTable),
    "categorical_bridge": lambda: _between(x_0=whole(8, 10)),
    "categorical_bridge of logits": lambda: _between(logits=between(-9, 9, 11, "float32", (*SHAPE, 9))),
    "categorical_bridge of probabilities": lambda: _between(probs=rows(12, 9, SHAPE)),
    "categorical_rows": lambda: fb.categorical_rows(units((*SHAPE, 30), 13) * 1e-3, rng=KEY),
    "categorical_rows of logits": lambda: fb.categorical_rows(
        logits=between(-9, 9, 13, "float32", (*SHAPE, 30)), rng=KEY
    ),
    "posterior_step, beta-binomial": lambda: _posterior("beta-binomial", 2),
    "posterior_step, bayes-logistic of 1": lambda: _posterior("bayes-logistic", 2),
    "posterior_step, bayes-logistic of 2": lambda: _posterior("bayes-logistic", 5),
    "posterior_step, bayes-logistic of 3": lambda: _posterior("bayes-logistic", 8),
    "posterior_step, negative-binomial": lambda: _posterior("negative-binomial", 2, 3000),
    "Uniform": lambda: _redrawn(fb.Uniform(50_258)),
    "Absorbing": lambda: _redrawn(fb.Absorbing(50_258)),
    "Redraw": lambda: _redrawn(fb.Redraw(rows(24))),
    "Schedule.draw": lambda: _times("draw"),
    "Schedule.draw_continuous": lambda: _times("draw_continuous"),
    "order of the data": lambda: permutation(100, KEY.seed, KEY.call),
    "mirrored images": lambda: flip_rows(100, KEY.seed, KEY.call),
    "Schedule.draw, early": lambda: _times("draw", times="early", max_count=255),
}


def hash_of(result: Any) -> str:
    """Of an array, or of several, None among them left out."""
    arrays: Iterable[Any] = result if isinstance(result, tuple) else (result,)
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def read() -> dict[str, Any]:
    return json.loads(FILE.read_text())


def add_missing() -> list[str]:
    """Writes the hashes of cases that have none; their names."""
    known = read()
    missing = [name for name in CASES if name not in known["sha256"]]
    with fb.use_backend("reference"):
        known["sha256"] |= {name: hash_of(CASES[name]()) for name in missing}
    atomic_write(FILE, (json.dumps(known, indent=2) + "\n").encode())
    return missing


if __name__ == "__main__":
    print("added:", ", ".join(add_missing()) or "none")
