"""Tokens of a language model, 32 sequences of 1,024, noised and drawn: 256 bytes, or GPT-2's words and a mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from cases import token_peers
from cases.harness import as_reference
from cases.workloads import SETS, uniforms

SHAPE = (32, 1024)
VOCABULARIES = {"256": 256, "50,258": 50_258}
ROWS = (4, 64)  # tokens whose probabilities are drawn from


def tokens(states: int) -> torch.Tensor:
    return torch.randint(0, states - 1, SHAPE, generator=torch.Generator().manual_seed(1))


def times(each: bool = False) -> list[torch.Tensor]:
    """SETS of times up to 3, one a sequence or one a token, float64."""
    return [3.0 * u for u in uniforms(SHAPE if each else SHAPE[:1])]


@pytest.mark.parametrize("name", ["Absorbing", "Uniform"])
@pytest.mark.parametrize("words", [pytest.param("256", marks=pytest.mark.long), "50,258"])
@pytest.mark.parametrize("each", [False, pytest.param(True, marks=pytest.mark.long)], ids=["sequence", "token"])
def test_forward(bench: Any, name: str, words: str, each: bool) -> None:
    states = VOCABULARIES[words]
    process, x_0, t = getattr(fb, name)(states), tokens(states), times(each)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return process.sample_forward(x_0[part], t[i % SETS][part], rng=fb.Philox(i), backend=backend)

    single = [s.float().reshape(s.shape if each else (-1, 1)) for s in t]
    others = token_peers.redraw(x_0, single, states, name == "Absorbing")
    shares = {token_peers.ROW_A_TOKEN: token_peers.PART / x_0.numel()}
    case = f"{name} of {words} states, a time a {'token' if each else 'sequence'}"
    bench(case, x_0.numel(), ours, others, as_reference(ours), shares=shares)


@pytest.mark.long
@pytest.mark.parametrize("name", ["Absorbing", "Uniform"])
def test_bridge(bench: Any, name: str) -> None:
    states = VOCABULARIES["50,258"]
    process, x_0, t = getattr(fb, name)(states), tokens(states), times()
    ends = [process.sample_forward(x_0, s, rng=fb.Philox(n)) for n, s in enumerate(t)]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        x_t, late = ends[i % SETS][part], t[i % SETS][part]
        return process.sample_bridge(x_t, x_0[part], 0.7 * late, late, rng=fb.Philox(i), backend=backend)

    others = token_peers.unmask(x_0, ends, t, states - 1) if name == "Absorbing" else {}
    bench(f"bridge of {name}, 50,258 states", x_0.numel(), ours, others, as_reference(ours))


@pytest.mark.parametrize("kind", [pytest.param("weights", marks=pytest.mark.long), "logits"])
@pytest.mark.parametrize("words", VOCABULARIES)
def test_rows(bench: Any, words: str, kind: str) -> None:
    states = VOCABULARIES[words]
    logits = 3.0 * torch.randn((*ROWS, states), generator=torch.Generator().manual_seed(7))
    given = logits if kind == "logits" else logits.softmax(-1)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.categorical_rows(**{kind: given[part]}, rng=fb.Philox(i), backend=backend)

    others = token_peers.rows(given, kind == "logits")
    bench(f"categorical_rows, {kind}, {words} states", logits.numel(), ours, others, as_reference(ours))
