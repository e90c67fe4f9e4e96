"""The reverse process with nothing to do on the host: each step reads its numbers from a table on the device.

On a CUDA device the step (network, fused op, next ordinal) is captured in a CUDA graph once and replayed; elsewhere the
same function runs step by step. fb.sample(..., cuda_graph=True) calls it and draws the same bytes either way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..arrays import to_device
from ..probability import Prob
from .steps import Numbers, Setting, State, numbers_of, one_step, state_at

if TYPE_CHECKING:
    from torch import Tensor

    from ..philox import Philox

_EAGER_STEPS = 2  # before the capture: libraries choose their algorithms and Triton compiles in them


def run(setting: Setting, x: Tensor, times: list[int], guidance: list[float], rng: Philox) -> State:
    """The state at times[-1] from the counts x at times[0], for the decreasing `times`; x itself is left alone.

    guidance: a number for each step.
    """
    table, state = prepare(setting, x, times, guidance, rng)
    number = len(table)
    if x.is_cuda and number > _EAGER_STEPS:
        with torch.cuda.device(x.device):
            _replay(lambda: step_from_table(setting, table, state), number)
    else:
        for _ in range(number):
            step_from_table(setting, table, state)
    return state


def _replay(step: Callable[[], None], number: int) -> None:
    side, current = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        for _ in range(_EAGER_STEPS):
            step()
    current.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # thread_local: what other threads do meanwhile, say for a data loader's pinned memory, does not break the capture.
    with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
        step()
    for _ in range(number - _EAGER_STEPS):
        graph.replay()
    current.synchronize()  # the graph and its memory may go only when its last replay is over


def prepare(setting: Setting, x: Tensor, times: list[int], guidance: list[float], rng: Philox) -> tuple[Tensor, State]:
    """The numbers of step n in row n of a float64 table on the device, and the state before the first step."""
    rows = [numbers_of(setting, *row) for row in zip(times[:-1], times[1:], guidance, strict=True)]
    table = np.array([[*map(float, (*row[:7], *row.survival, *row.rule))] for row in rows])
    state = state_at(setting.model, x.clone(memory_format=torch.contiguous_format), times[0], rng)
    return to_device(torch.from_numpy(table), x.device), state._replace(key=rng.at(call=0).tensor(x.device))


def step_from_table(setting: Setting, table: Tensor, state: State) -> None:
    """The step of the row that is the call of the state's key, in place, its numbers taken on the device.

    The last operation adds 1 to the call.
    """
    row = state.key[2:]
    columns = table.index_select(0, row).t().expand(-1, len(state.x)).contiguous()  # (numbers, B)
    network, probabilities = columns[1:6].float(), columns[7:].unbind()
    numbers = Numbers._make((columns[0].long(), *network, columns[6], Prob(*probabilities[:2]), probabilities[2:]))
    one_step(setting, numbers, state, in_place=True)
    row.add_(1)
