"""What samplers, losses and bounds ask of a model and a schedule, checked before anything runs."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..call.head import FAMILIES, OF_STATES
from ..philox import SEED_END, Philox
from ..schedule.schedule import Schedule

NEEDED = ("max_count", "center", "scale", "gain")
LAWS = FAMILIES  # heads whose outputs are a law of the births of each pixel
# What else a model with another head than "mean" has.
OF_HEAD = {"implicit": ("offset", "draw_noise"), **dict.fromkeys(LAWS, ("offset",))}


class Wrapped:
    """A model inside another module, DistributedDataParallel or AveragedModel: called as that, described by itself."""

    def __init__(self, outer: nn.Module, inner: Any) -> None:
        self._outer = outer
        self.max_count, self.center, self.scale, self.gain = (getattr(inner, name) for name in NEEDED)
        self.schedule, self.tuned = getattr(inner, "schedule", None), getattr(inner, "tuned", None)
        self.head, self.network = head_of(inner), getattr(inner, "network", inner)
        for name in OF_HEAD.get(self.head, ()):
            setattr(self, name, getattr(inner, name))

    def __call__(self, *arguments: Any) -> Any:
        return self._outer(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outer, name)  # parameters, training, train, eval


def as_model(op: str, model: Any) -> Any:
    """`model`, or a `Wrapped` where a module hides it; TypeError unless there is a BlackoutModel or its like."""
    inner = model
    while not _described(inner) and isinstance(inside := getattr(inner, "module", None), nn.Module):
        inner = inside
    if not callable(model) or not _described(inner):
        rule = f"must be a BlackoutModel, or have {', '.join(_needed(inner))} and a call"
        raise TypeError(f"{op}: model: {rule}, got {type(model).__name__}")
    count = inner.max_count
    if isinstance(count, bool) or not isinstance(count, numbers.Integral) or count < 1:
        raise TypeError(f"{op}: model: max_count must be an integer of at least 1, got {count!r}")
    return model if inner is model else Wrapped(model, inner)


def head_of(model: Any) -> str:
    """What a model's outputs are, where it says so, else "mean": other modules may have a `head` as well."""
    said = getattr(model, "head", None)
    return said if isinstance(said, str) and said in OF_HEAD else "mean"


def draw_keys(rng: Philox | Tensor, draws: int) -> list[Any]:
    """A key for the noise of each of several joint draws of an implicit head: draw s has the seed plus s 2^56.

    rng: a Philox, or its tensor, whose keys are tensors on its device.
    """
    if isinstance(rng, Tensor):
        keys = [rng.clone() for _ in range(draws)]
        for s, key in enumerate(keys):
            key[0].add_(s << 56)  # modulo 2^64, as below
        return keys
    return [Philox((rng.seed + (s << 56)) % SEED_END, rng.first_sample, rng.call) for s in range(draws)]


def outputs_of(head: str, max_count: int) -> tuple[int, ...]:
    """How many numbers a network may give of each count: a logit for each state, or as many as the law's arrays."""
    return (max_count + 1,) if head in OF_STATES else LAWS.get(head, (1,))


def arrays_of(head: str, outputs: Tensor, images: Tensor) -> tuple[Tensor, ...]:
    """The arrays of a law, of the shape of the images, that a network gives one after another along its channels; of a
    law with a logit for every state one array, (*shape of the images, states), which is a view."""
    arrays = outputs.shape[1] // images.shape[1]
    if head in OF_STATES:
        return (outputs.unflatten(1, (arrays, images.shape[1])).movedim(1, -1),)
    return outputs.chunk(arrays, dim=1)


def _needed(model: Any) -> tuple[str, ...]:
    return (*NEEDED, *OF_HEAD.get(head_of(model), ()))


def _described(model: Any) -> bool:
    return all(hasattr(model, name) for name in _needed(model))


def check_schedule(op: str, schedule: Any, model: Any) -> None:
    """TypeError unless a Schedule; ValueError where the model knows its own, and these times are others."""
    if not isinstance(schedule, Schedule):
        raise TypeError(f"{op}: schedule: must be a fastblackout.Schedule, got {type(schedule).__name__}")
    own = getattr(model, "schedule", None)
    if own is schedule or not isinstance(own, Schedule):
        return
    if not (np.array_equal(own.p, schedule.p) and np.array_equal(own.q, schedule.q)):
        raise ValueError(f"{op}: schedule: must be that of the model, {own!r}, got {schedule!r}")
