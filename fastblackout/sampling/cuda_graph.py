"""The reverse process with nothing to do on the host: each step reads its numbers from tables on the device.

On a CUDA device the step (network, fused op, next ordinal) is captured in a CUDA graph once and replayed; elsewhere the
same function runs step by step. fb.sample(..., cuda_graph=True) calls it and draws the same bytes either way.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..arrays import to_device
from ..ops import Leaped, Stepped, bridge_step, tau_leap_step, thin
from ..philox import Philox
from ..probability import Prob
from .sampler import EVERYTHING, predict

if TYPE_CHECKING:
    from torch import Tensor

    from ..schedule.schedule import Schedule

_EAGER_STEPS = 2  # before the capture: libraries choose their algorithms and Triton compiles in them


class Rule(NamedTuple):
    """What all steps share."""

    model: Any
    sampler: str
    rounding: str
    attrition: float
    labels: Tensor | None
    guidance: float
    known: Tensor | None
    mask: Tensor | None


class State(NamedTuple):
    """Tensors a step works on. x, model_input and key are written; row n of the tables belongs to step n = key[2]."""

    x: Tensor
    model_input: Tensor
    key: Tensor
    times: Tensor  # int64 (steps,): k_t
    floats: Tensor  # float32 (steps, 5): gain at k_t, centre and scale at k_t and at k_s
    probs: Tensor  # float64 (steps, 6): survival at k_t, birth (for tau-leaping its factor), attrition, each with 1 - p


def run(rule: Rule, schedule: Schedule, x: Tensor, times: list[int], rng: Philox) -> Tensor:
    """Counts at times[-1] from the counts x at times[0], for the decreasing `times`; x itself is left alone."""
    state = start(rule, schedule, x, times, rng)
    steps = len(times) - 1
    if not x.is_cuda or steps <= _EAGER_STEPS:
        for _ in range(steps):
            one_step(rule, state)
        return state.x
    with torch.cuda.device(x.device):
        _replay(rule, state, steps)
    return state.x


def _replay(rule: Rule, state: State, steps: int) -> None:
    side, current = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        for _ in range(_EAGER_STEPS):
            one_step(rule, state)
    current.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # thread_local: what other threads do meanwhile, say for a data loader's pinned memory, does not break the capture.
    with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
        one_step(rule, state)
    for _ in range(steps - _EAGER_STEPS):
        graph.replay()
    current.synchronize()  # the graph and its memory may go only when its last replay is over


def start(rule: Rule, schedule: Schedule, x: Tensor, times: list[int], rng: Philox) -> State:
    """The state before the first step: the tables, made on the host by what the ordinary loop asks step by step."""
    model, floats, probs = rule.model, [], []
    for k_t, k_s in pairwise(times):
        numbers = (model.gain(k_t), model.center(k_t), model.scale(k_t), model.center(k_s), model.scale(k_s))
        floats.append([float(number) for number in numbers])
        probs.append([*schedule.survival(k_t), *_step_numbers(rule, schedule, k_t, k_s)])
    tables = (np.array(times[:-1], np.int64), np.array(floats, np.float32), np.array(probs, np.float64))
    on_device = [to_device(torch.from_numpy(table), x.device) for table in tables]
    x = x.clone(memory_format=torch.contiguous_format)
    first = thin(
        x, EVERYTHING, rng=rng, max_count=model.max_count, center=floats[0][1], scale=floats[0][2],
        outputs=("model_input",),
    )  # fmt: skip
    return State(x, first.model_input, rng.at(call=0).tensor(x.device), *on_device)


def _step_numbers(rule: Rule, schedule: Schedule, k_t: int, k_s: int) -> tuple[float, float, float, float]:
    if rule.sampler != "bridge":
        form = "rate" if rule.sampler == "tau-leap-rate" else "bridge-mean"
        return (schedule.leap(k_t, k_s, form=form), 0.0, 0.0, 1.0)
    if rule.attrition == 0:
        return (*schedule.bridge(k_t, k_s), 0.0, 1.0)
    birth, death = schedule.bridge_with_attrition(k_t, k_s, rule.attrition)
    return (*birth, *death)


def one_step(rule: Rule, state: State) -> None:
    """One reverse step in place, all its numbers taken on the device; the last operation adds 1 to the call."""
    model, x, key = rule.model, state.x, state.key
    batch, row = len(x), key[2:]
    times = state.times.index_select(0, row).expand(batch)
    gain, center_t, scale_t, center, scale = _columns(state.floats, row, batch)
    alive, dead, birth, unborn, death, kept = _columns(state.probs, row, batch)
    shared: dict[str, Any] = {"rng": key, "max_count": model.max_count}
    model_input = state.model_input
    if rule.known is not None and rule.mask is not None:
        drawn = thin(rule.known, Prob(alive, dead), outputs=("x_t",), **shared).x_t
        x.copy_(torch.where(rule.mask, drawn, x))
        model_input = thin(
            x, EVERYTHING, center=center_t, scale=scale_t, outputs=("model_input",), **shared
        ).model_input
    prediction = predict(model, model_input, times, gain, rule.labels, rule.guidance)
    shared |= {"center": center, "scale": scale, **prediction}
    if rule.sampler == "bridge":
        attrition = 0.0 if rule.attrition == 0 else Prob(death, kept)
        out = Stepped(x, state.model_input)
        bridge_step(x, step=Prob(birth, unborn), rounding=rule.rounding, attrition=attrition, out=out, **shared)
    else:
        tau_leap_step(x, step=birth, out=Leaped(x, state.model_input), **shared)
    key[2:].add_(1)


def _columns(table: Tensor, row: Tensor, batch: int) -> tuple[Tensor, ...]:
    """The row's entries, each for all samples, contiguous: two operations for all of them."""
    return table.index_select(0, row).t().expand(-1, batch).contiguous().unbind(0)
