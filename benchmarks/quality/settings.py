"""How samples are drawn, in words of the command line: "steps=5 guidance=.25", "grid=0,4e-4,.05,1 last_step=mean"."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

NAMES = ("steps", "grid", "guidance", "last_step")


class Setting(NamedTuple):
    """text: the options in the order of NAMES, a space between them. options: keywords of `fb.sample`; what is not
    named is left to it."""

    text: str
    options: dict[str, Any]

    @property
    def is_whole(self) -> bool:
        """Whether it leaves nothing to what was tuned for a model."""
        return {"grid", "guidance", "last_step"} <= self.options.keys()


def setting_of(text: str) -> Setting:
    """The setting that a text means. ValueError for what is no option, or no number where one is needed."""
    given: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if name not in NAMES or name in given or not equals or not value:
            raise ValueError(f"quality: setting: must be NAME=VALUE of {', '.join(NAMES)}, each once, got {word!r}")
        given[name] = value
    named = {name: given[name] for name in NAMES if name in given}
    text = " ".join(f"{name}={value}" for name, value in named.items())
    return Setting(text, {name: _value(name, value) for name, value in named.items()})


def _value(name: str, value: str) -> Any:
    if name == "last_step" or (name == "grid" and value.isidentifier()):
        return value
    numbers: list[Any] = [_number(name, each) for each in value.split(",")]
    whole = all(number.is_integer() for number in numbers)
    if whole and (name == "steps" or (name == "grid" and numbers[0] > numbers[-1])):  # times fall, probabilities rise
        numbers = [int(number) for number in numbers]
    return numbers if name == "grid" or len(numbers) > 1 else numbers[0]


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"quality: {name}: must be a number, or several with commas between them, got {text!r}")
    return number
