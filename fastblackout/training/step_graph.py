"""A training step as one CUDA graph: for small networks, whose launches take the host longer than the GPU's work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

EAGER_STEPS = 3  # before the capture: libraries choose their algorithms, and kernels are compiled, in them


class StepGraph:
    """Calls `step` with tensors for its first EAGER_STEPS calls, then captures it once and replays it for ever.

    step: takes tensors of the same shapes at each call and returns tensors; what else it reads and writes must lie in
    the same memory each time. All random numbers must come from keys among its tensors or from the device's default
    generator, whose seed at a replay is the one set last before it.
    """

    def __init__(self, step: Callable[..., tuple[Tensor, ...]], device: torch.device) -> None:
        self._step, self._device = step, device
        self._stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._eager = 0

    def __call__(self, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if self._eager < EAGER_STEPS:
            self._eager += 1
            return self._aside(given)
        if self._graph is None:
            self._inputs = [value.clone() for value in given]
            self._graph = torch.cuda.CUDAGraph()
            # thread_local: the threads that make batches and write checkpoints may go on meanwhile.
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                self._outputs = self._step(*self._inputs)
        for own, value in zip(self._inputs, given, strict=True):
            own.copy_(value)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)

    def _aside(self, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The step on the stream that it will be captured on, between what the current one did and will do."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            made = self._step(*given)
        current.wait_stream(self._stream)
        return made
