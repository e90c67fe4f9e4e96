"""One reverse step, written once: `sample` calls it with Python numbers, the CUDA graph with tensors on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import softplus

from ..heads import head_of
from ..heads.head import Head, Query
from ..heads.poisson_births import rows_of
from ..ops import thin
from ..probability import Prob

if TYPE_CHECKING:
    from torch import Tensor

    from ..schedule.schedule import Schedule
    from .dropout import KeptDropout
    from .rules.rule import Rule


_EVERYTHING = Prob(1.0, 0.0)


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


class Numbers(NamedTuple):
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


def numbers_of(setting: Setting, k_t: int, k_s: int, guidance: float) -> Numbers:
    model, schedule = setting.model, setting.schedule
    for_mask = (0.0, 1.0, _EVERYTHING)
    if setting.mask is not None:
        for_mask = (model.center(k_t), model.scale(k_t), schedule.survival(k_t))
    network = (setting.head.number(model, k_t), model.center(k_s), model.scale(k_s))
    return Numbers(k_t, *network, *for_mask[:2], guidance, for_mask[2], setting.rule.numbers(schedule, k_t, k_s))


def state_at(model: Any, x: Tensor, k: int | Tensor, key: Any) -> State:
    """The state of the counts x at time k, one for all samples or (B,)."""
    return State(x, _input_of(model, x, model.center(k), model.scale(k), key), key)


def one_step(setting: Setting, numbers: Numbers, state: State, in_place: bool = False) -> State:
    """The state at k_s, with the same key; `in_place`, counts and input are written over the ones of `state`."""
    x, arguments = _asked(setting, numbers, state)
    made = setting.rule.step(x, numbers.rule, (state.x, state.model_input) if in_place else None, **arguments)
    return State(made.x_s, made.model_input, state.key)


def expected_end(setting: Setting, numbers: Numbers, state: State) -> Tensor:
    """E[x_0 | x_t], float32: a step to time 0 whose births are not made whole numbers."""
    x, births = _births(setting, numbers, state)
    return (x + births).clamp(max=float(setting.model.max_count)).float()


def expected_births(setting: Setting, numbers: Numbers, state: State) -> Tensor:
    """E[x_0 - x_t | x_t], float64."""
    return _births(setting, numbers, state)[1]


def _births(setting: Setting, numbers: Numbers, state: State) -> tuple[Tensor, Tensor]:
    """The counts before a step, and the mean of all births left, float64, by a rule that is given the mean."""
    x, arguments = _asked(setting, numbers, state)
    if "births" in arguments:
        return x, arguments["births"].double()
    gain = arguments["gain"]
    if isinstance(gain, torch.Tensor):
        gain = rows_of(gain, x).float()
    return x, (gain * softplus(arguments["logits"].float())).double()


def _asked(setting: Setting, numbers: Numbers, state: State) -> tuple[Tensor, dict[str, Any]]:
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
