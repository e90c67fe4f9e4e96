"""One reverse step, written once: `sample` calls it with Python numbers, the CUDA graph with tensors on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import logsigmoid, softplus

from ..models.interface import LAWS, arrays_of, head_of
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
    guided: bool = False  # whether any step is
    known: Any = None
    mask: Tensor | None = None
    dropout: KeptDropout | None = None


class Numbers(NamedTuple):
    """The numbers of a step from k_t to k_s: Python numbers for all samples, or in a CUDA graph tensors (B,)."""

    time: Any  # k_t
    of_head: Any  # the model's gain(k_t), or of another head than "mean" its offset(k_t)
    next_center: Any  # of the network's input at k_s
    next_scale: Any
    center: Any  # of its input at k_t; this and the next two are used with a mask only
    scale: Any
    guidance: Any  # w, which may be 0 in some steps of a guided run
    survival: Prob  # until k_t
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
    of_head = model.gain(k_t) if head_of(model) == "mean" else model.offset(k_t)
    network = (of_head, model.center(k_s), model.scale(k_s))
    return Numbers(k_t, *network, *for_mask[:2], guidance, for_mask[2], setting.rule.numbers(schedule, k_t, k_s))


def state_at(model: Any, x: Tensor, k: int, key: Any) -> State:
    """The state of the counts x at time k."""
    return State(x, _input_of(model, x, model.center(k), model.scale(k), key), key)


def one_step(setting: Setting, numbers: Numbers, state: State, in_place: bool = False) -> State:
    """The state at k_s, with the same key; `in_place`, counts and input are written where those of `state` are."""
    model, (x, model_input, key) = setting.model, state
    if setting.dropout is not None:
        setting.dropout.begin(key)
    arguments = {"rng": key, "max_count": model.max_count}
    if setting.mask is not None:
        drawn = thin(setting.known, numbers.survival, outputs=("x_t",), **arguments).x_t
        x = torch.where(setting.mask, drawn, x)
        model_input = _input_of(model, x, numbers.center, numbers.scale, key)
    arguments |= {"center": numbers.next_center, "scale": numbers.next_scale}
    if (head := head_of(model)) == "implicit":
        arguments["births"] = _drawn_births(setting, x, model_input, key, numbers)
    elif head in LAWS:
        outputs = _outputs(setting, model_input, numbers)
        arguments |= {"head": arrays_of(head, outputs, x), "family": head, "offset": numbers.of_head}
    else:
        arguments |= _expected_births(setting, model_input, numbers)
    made = setting.rule.step(x, numbers.rule, (state.x, state.model_input) if in_place else None, **arguments)
    return State(made.x_s, made.model_input, key)


def _input_of(model: Any, x: Tensor, center: Any, scale: Any, key: Any) -> Tensor:
    # Thinning with survival 1 keeps every count, so it is the op that centres and scales and nothing else.
    how = {"rng": key, "max_count": model.max_count, "center": center, "scale": scale}
    return thin(x, _EVERYTHING, outputs=("model_input",), **how).model_input


def _expected_births(setting: Setting, model_input: Tensor, numbers: Numbers) -> dict[str, Any]:
    """What the rule's step is given of them: logits and gain, or in a guided run births."""
    model, gain = setting.model, numbers.of_head
    time = _times(numbers.time, model_input)
    logits = model(model_input, time, setting.labels)
    if not setting.guided:
        return {"logits": logits, "gain": gain}
    log_y = _log_softplus(logits)
    if _mixes(numbers):
        log_y = _mixed(numbers, log_y, _log_softplus(model(model_input, time, None)))
    factor = gain[0] if isinstance(gain, torch.Tensor) and gain.ndim else float(gain)
    # Far from the data the ratio can overflow; more than max_count births can never happen.
    return {"births": torch.clamp(factor * torch.exp(log_y), max=float(model.max_count))}


def _drawn_births(setting: Setting, x: Tensor, model_input: Tensor, key: Any, numbers: Numbers) -> Tensor:
    """One joint draw of the births that remain, by an implicit head; with guidance of its logits for one noise."""
    model, offset = setting.model, numbers.of_head
    logits = _outputs(setting, model_input, numbers, model.draw_noise(model_input, key))
    if isinstance(offset, torch.Tensor):
        offset = offset.view(-1, *[1] * (x.ndim - 1))
    return (model.max_count - x).float() * torch.sigmoid(2 * logits + offset)


def _outputs(setting: Setting, model_input: Tensor, numbers: Numbers, *noise: Tensor) -> Tensor:
    """Those of a head that is not "mean"; with guidance mixed with those without labels."""
    model, time = setting.model, _times(numbers.time, model_input)
    outputs: Tensor = model(model_input, time, setting.labels, *noise).float()
    if not setting.guided or not _mixes(numbers):
        return outputs
    return _mixed(numbers, outputs, model(model_input, time, None, *noise).float())


def _mixes(numbers: Numbers) -> bool:
    """False where a guided run has a step without guidance. In a CUDA graph, whose steps are alike, always True."""
    return isinstance(numbers.guidance, torch.Tensor) or numbers.guidance != 0


def _mixed(numbers: Numbers, labelled: Tensor, without: Tensor) -> Tensor:
    """(1 + w) of what the network says with the labels and -w of what it says without."""
    w = numbers.guidance
    if isinstance(w, torch.Tensor):
        w = w.view(-1, *[1] * (labelled.ndim - 1))
        return (1 + w).float() * labelled - w.float() * without
    return (1 + w) * labelled - w * without


def _times(time: Any, like: Tensor) -> Tensor:
    if isinstance(time, torch.Tensor):
        return time
    return torch.full((len(like),), time, dtype=torch.int64, device=like.device)


def _log_softplus(logits: Tensor) -> Tensor:
    logits = logits.float()
    # softplus(x) = exp(x) (1 - exp(x)/2 + ...): below -15 its logarithm is x to float32 precision, and never log(0).
    return torch.where(logits < -15, logsigmoid(logits), torch.log(softplus(logits.clamp(min=-15))))
