"""One reverse step, written once: `sample` calls it with Python numbers, the CUDA graph with tensors on its device.

Beside it: the steps as a CUDA graph, and dropout while samples are drawn, by masks that depend on a step's key alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.modules.dropout import _DropoutNd

from ..arrays import to_device
from ..heads import head_of
from ..heads.head import Head, Query, rows_of
from ..ops import thin
from ..philox import SEED_END, Philox
from ..probability import Prob

if TYPE_CHECKING:
    from ..schedule.schedule import Schedule
    from .rules import Rule


_EVERYTHING = Prob(1.0, 0.0)
_EAGER_STEPS = 2  # before the capture of a CUDA graph: libraries choose their algorithms and Triton compiles in them


class Setting(NamedTuple):
    """What all steps share: the rule, and arguments of `sample` as it has checked them."""

    model: Any
    schedule: Schedule
    rule: Rule
    labels: Tensor | None = None
    guided: bool = False  # whether any step is guided
    known: Any = None
    mask: Tensor | None = None
    dropout: KeptDropout | None = None

    @property
    def head(self) -> Head:
        return head_of(self.model)


class StepNumbers(NamedTuple):
    """The numbers of a step from k_t to k_s: Python numbers for all samples, or in a CUDA graph tensors (B,)."""

    time: Any  # k_t
    of_head: Any  # `Head.number` at k_t
    next_center: Any  # the centre of the network's input at k_s
    next_scale: Any
    center: Any  # the centre of its input at k_t; this and the next two are used with a mask only
    scale: Any
    guidance: Any  # the guidance w, which may be 0 in some steps of a guided run
    survival: Prob  # the survival probability until k_t
    rule: tuple[Any, ...]  # what `Rule.numbers` returned


class State(NamedTuple):
    """What a step reads and leaves: the counts, the network's input made of them, and the key of the step's draws."""

    x: Tensor
    model_input: Tensor
    key: Any


def numbers_of(setting: Setting, k_t: int, k_s: int, guidance: float) -> StepNumbers:
    model, schedule = setting.model, setting.schedule
    for_mask = (0.0, 1.0, _EVERYTHING)
    if setting.mask is not None:
        for_mask = (model.center(k_t), model.scale(k_t), schedule.survival(k_t))
    network = (setting.head.number(model, k_t), model.center(k_s), model.scale(k_s))
    return StepNumbers(k_t, *network, *for_mask[:2], guidance, for_mask[2], setting.rule.numbers(schedule, k_t, k_s))


def state_at(model: Any, x: Tensor, k: int | Tensor, key: Any) -> State:
    """The state of the counts x at time k, one for all samples or (B,)."""
    return State(x, _input_of(model, x, model.center(k), model.scale(k), key), key)


def one_step(setting: Setting, numbers: StepNumbers, state: State, in_place: bool = False) -> State:
    """The state at k_s, with the same key; `in_place`, counts and input are written over the ones of `state`."""
    x, arguments = _arguments_of(setting, numbers, state)
    made = setting.rule.step(x, numbers.rule, (state.x, state.model_input) if in_place else None, **arguments)
    return State(made.x_s, made.model_input, state.key)


def expected_end(setting: Setting, numbers: StepNumbers, state: State) -> Tensor:
    """E[x_0 | x_t], float32: a step to time 0 whose births are not made whole numbers."""
    x, births = expected_births(setting, numbers, state)
    return (x + births).clamp(max=float(setting.model.max_count)).float()


def expected_births(setting: Setting, numbers: StepNumbers, state: State) -> tuple[Tensor, Tensor]:
    """The counts before a step, and E[x_0 - x_t | x_t], float64, by a rule that is given the mean."""
    x, arguments = _arguments_of(setting, numbers, state)
    if "births" in arguments:
        return x, arguments["births"].double()
    gain = arguments["gain"]
    if isinstance(gain, torch.Tensor):
        gain = rows_of(gain, x).float()
    return x, (gain * softplus(arguments["logits"].float())).double()


def _arguments_of(setting: Setting, numbers: StepNumbers, state: State) -> tuple[Tensor, dict[str, Any]]:
    """The counts before a step, and what the rule's op takes beside them. Known counts are drawn anew."""
    model, (x, model_input, key) = setting.model, state
    if setting.dropout is not None:
        setting.dropout.begin(key)
    arguments = {"rng": key, "max_count": model.max_count}
    if setting.mask is not None:
        drawn = thin(setting.known, numbers.survival, outputs=("x_t",), **arguments).x_t
        x = torch.where(setting.mask, drawn, x)
        model_input = _input_of(model, x, numbers.center, numbers.scale, key)
    arguments |= {"center": numbers.next_center, "scale": numbers.next_scale}
    guidance = numbers.guidance if setting.guided else None
    query = Query(model, model_input, _times(numbers.time, model_input), setting.labels, guidance)
    births = setting.head.expected if setting.rule.expected else setting.head.births
    return x, arguments | births(query, x, numbers.of_head, key)


def _input_of(model: Any, x: Tensor, center: Any, scale: Any, key: Any) -> Tensor:
    # Thinning with survival 1 keeps every count, so it is the op that centres and scales and nothing else.
    how = {"rng": key, "max_count": model.max_count, "center": center, "scale": scale}
    return thin(x, _EVERYTHING, outputs=("model_input",), **how).model_input


def _times(time: Any, like: Tensor) -> Tensor:
    if isinstance(time, torch.Tensor):
        return time
    return torch.full((len(like),), time, dtype=torch.int64, device=like.device)


def run_from_table(setting: Setting, x: Tensor, times: list[int], guidance: list[float], rng: Philox) -> State:
    """The state at times[-1] from the counts x at times[0], with nothing to do on the host: each step reads its numbers
    from a table on the device. x itself is left alone. times: decreasing; guidance: a number for each step.

    On a CUDA device the step (network, fused op, next ordinal) is captured in a CUDA graph once and replayed; elsewhere
    the same function runs step by step. fb.sample(..., cuda_graph=True) draws the same bytes either way.
    """
    table, state = table_of_steps(setting, x, times, guidance, rng)
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


def table_of_steps(
    setting: Setting, x: Tensor, times: list[int], guidance: list[float], rng: Philox
) -> tuple[Tensor, State]:
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
    numbers = StepNumbers._make((columns[0].long(), *network, columns[6], Prob(*probabilities[:2]), probabilities[2:]))
    one_step(setting, numbers, state, in_place=True)
    row.add_(1)


class KeptDropout:
    """What the nn.Dropout modules of a network in eval mode do instead of nothing: x / (1 - p) with chance 1 - p, else
    0, as in training.

    The n-th mask of a step (n = 1, 2, ... in the order in which the network comes to them) is fb.thin of ones, by the
    key of the step with n 2^40 added to its seed: the same for any split of the batch, and on every backend.
    """

    def __init__(self) -> None:
        self._key: Any = None
        self._masks = 0

    def begin(self, key: Any) -> None:
        """A step begins whose draws have this key, a Philox or its tensor."""
        self._key, self._masks = key, 0

    def drop(self, layer: nn.Dropout, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """The forward hook of such a module."""
        self._masks += 1
        offset, (x,) = self._masks << 40, inputs
        if isinstance(self._key, Philox):
            key: Any = Philox(
                (self._key.seed + offset) % SEED_END, first_sample=self._key.first_sample, call=self._key.call
            )
        else:
            key = self._key.clone()
            key[0].add_(offset)
        ones = torch.ones(x.shape, dtype=torch.uint8, device=x.device)
        kept = thin(ones, 1.0 - layer.p, rng=key, max_count=1, outputs=("x_t",)).x_t
        return x * (kept.to(x.dtype) / (1.0 - layer.p))


@contextmanager
def keeping_dropout(model: Any, keep: bool) -> Iterator[KeptDropout | None]:
    """Inside the block the model drops by a `KeptDropout`; None, and nothing changes, unless `keep`.

    Raises ValueError for dropout of other kinds than nn.Dropout. A model without dropout stays as it is.
    """
    if not keep:
        yield None
        return
    modules = model.modules() if hasattr(model, "modules") else ()
    layers = [module for module in modules if isinstance(module, _DropoutNd) and module.p > 0]
    for layer in layers:
        if type(layer) is not nn.Dropout or layer.p >= 1:
            raise ValueError(f"sample: model: its dropout must be nn.Dropout with p below 1 to be left on, got {layer}")
    dropout = KeptDropout()
    hooks = [layer.register_forward_hook(dropout.drop) for layer in layers]
    try:
        yield dropout
    finally:
        for hook in hooks:
            hook.remove()
