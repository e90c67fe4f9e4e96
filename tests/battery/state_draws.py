"""Draws of states: from rows of matrices, their bridges, rows of a network, and the processes that redraw."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import special

import fastblackout as fb
from battery.cells import Cells, of_masses
from battery.element_draws import Draw


def matrix(states: int, seed: int, spread: float) -> np.ndarray:
    found = special.softmax(np.random.default_rng(seed).normal(size=(states, states)) * spread, axis=1)
    return found / found.sum(1, keepdims=True)


def draws_of(op: Any, cases: int, samples: int = 8) -> Any:
    """op(shape, key): states of the shape (samples, m, cases)."""

    def draw(key: fb.Philox, m: int) -> np.ndarray:
        shape = samples, max(1, m // samples), cases
        return np.asarray(op(shape, key)).reshape(-1, cases)

    return draw


def categoricals() -> list[Draw]:
    """Every row of three matrices, one of them with zeros and chances next to 0 and 1."""
    sharp = np.array([[1 - 1e-9, 1e-9, 0.0], [0.0, 0.5, 0.5], [1e-3, 0.0, 0.999]])
    made = []
    for name, rows, given in (
        ("categorical, 3 states", sharp, sharp),
        ("categorical, 40 states", matrix(40, 1, 2.0), matrix(40, 1, 2.0)),
        ("categorical, a table", matrix(40, 2, 2.0), fb.CategoricalTable(matrix(40, 2, 2.0))),
    ):

        def op(shape: tuple[int, ...], key: fb.Philox, given: Any = given) -> Any:
            return fb.categorical(np.broadcast_to(np.arange(shape[-1]), shape), given, rng=key)

        made.append(Draw(name, draws_of(op, len(rows)), lambda rows=rows: [of_masses(0, row) for row in rows]))
    return made


def categorical_bridges() -> list[Draw]:
    states = 12
    before, after = matrix(states, 3, 1.5), matrix(states, 4, 1.5)
    logits = np.random.default_rng(6).normal(size=(states, states)).astype(np.float32) * 2
    tied = [(x, y) for x in (0, 5, 11) for y in (0, 3, 7)]
    x_0, x_t = (np.array(each) for each in zip(*tied, strict=True))

    def known(shape: tuple[int, ...], key: fb.Philox) -> Any:
        ends = (np.broadcast_to(each, shape) for each in (x_t, x_0))
        return fb.categorical_bridge(*ends, before=before, after=after, rng=key)

    def predicted(shape: tuple[int, ...], key: fb.Philox) -> Any:
        given = np.broadcast_to(logits, (*shape, states))
        x = np.broadcast_to(np.arange(states), shape)
        return fb.categorical_bridge(x, logits=given, before=before, after=after, rng=key)

    def law(x: int, y: int) -> np.ndarray:
        found = before[x] * after[:, y]
        return found / found.sum()

    def mixed(y: int) -> Cells:
        chances = special.softmax(logits[y].astype(np.float64))
        return of_masses(0, sum(chance * law(x, y) for x, chance in enumerate(chances)))

    return [
        Draw("categorical_bridge", draws_of(known, len(tied)), lambda: [of_masses(0, law(*pair)) for pair in tied]),
        Draw("categorical_bridge, logits", draws_of(predicted, states), lambda: [mixed(y) for y in range(states)]),
    ]


def rows() -> list[Draw]:
    random, states = np.random.default_rng(7), 60
    logits = (random.normal(size=(6, states)) * np.array([0, 1, 3, 10, 30, 1])[:, None]).astype(np.float32)
    logits[5, ::2] = -np.inf
    weights = random.exponential(size=(4, states)) * 10.0 ** random.uniform(-12, 3, (4, 1))

    def by(name: str, given: np.ndarray, laws: np.ndarray) -> Draw:
        def op(shape: tuple[int, ...], key: fb.Philox) -> Any:
            return fb.categorical_rows(**{name: np.broadcast_to(given, (*shape, states))}, rng=key)

        return Draw(f"categorical_rows, {name}", draws_of(op, len(given)), lambda: [of_masses(0, law) for law in laws])

    return [by("logits", logits, special.softmax(logits.astype(np.float64), axis=1)), by("weights", weights, weights)]


S, T = 0.25, 1.5


def redraw(process: Any, fresh: np.ndarray, ends: list[int]) -> list[Draw]:
    """A process on 5 states that are drawn anew at rate 1, by the law `fresh`: forwards, and tied to states `ends`."""
    near, far = (np.exp(-t) * np.eye(5) + (1 - np.exp(-t)) * fresh for t in (S, T - S))

    def forward(shape: tuple[int, ...], key: fb.Philox) -> Any:
        return process.sample_forward(torch.arange(5).expand(shape), T, rng=key)

    def bridge(shape: tuple[int, ...], key: fb.Philox) -> Any:
        return process.sample_bridge(torch.tensor(ends).expand(shape), torch.arange(5).expand(shape), S, T, rng=key)

    name, tied = type(process).__name__, [near[x] * far[:, y] for x, y in enumerate(ends)]
    return [
        Draw(f"{name}, forwards", draws_of(forward, 5), lambda: [of_masses(0, row) for row in near @ far]),
        Draw(f"{name}, bridge", draws_of(bridge, 5), lambda: [of_masses(0, row) for row in tied]),
    ]


def redraws() -> list[Draw]:
    law, mask = np.array([0.5, 0.25, 0.125, 0.0625, 0.0625]), np.eye(5)[4]
    return [
        *redraw(fb.Uniform(5), np.full(5, 0.2), [0, 3, 4, 3, 1]),
        *redraw(fb.Absorbing(5), mask, [4, 4, 2, 4, 4]),
        *redraw(fb.Redraw(law), law, [0, 3, 4, 3, 1]),
    ]


def state_draws() -> list[Draw]:
    return [*categoricals(), *categorical_bridges(), *rows(), *redraws()]
