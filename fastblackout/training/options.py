"""How an option of a training is declared: its check, its help, its place in the docstring of TrainConfig."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Collection
from dataclasses import Field, field
from typing import Any

Rule = tuple[Callable[[Any], bool], str]


def least(limit: int) -> Rule:
    return lambda value: value >= limit, f"must be at least {limit}"


def below(power: int) -> Rule:
    return lambda value: value < 1 << power, f"must be below 2^{power}"


def within(low: int, high: int) -> Rule:
    return lambda value: low <= value <= high, f"must be in {low}..{high}"


def whole(low: int, most: int | None = None) -> tuple[Rule, ...]:
    """The rules of a number of things."""
    if most is None:
        return least(low), below(32)
    return least(low), (lambda value: value <= most, f"must be at most {most}")


POSITIVE: Rule = (lambda value: 0 < value < float("inf"), "must be above 0 and finite")
SHARE: Rule = (lambda value: 0 <= value < 1, "must be in [0, 1)")


def option(default: Any, about: str, *rules: Rule, choices: Collection[str] = ()) -> Any:
    """A field from which its check and its option of the command line follow."""
    return field(default=default, metadata={"help": about, "rules": rules, "choices": choices})


def documented(of: Field[Any]) -> str:
    """An option as NumPy's docstrings list a parameter."""
    choices = ", ".join(map(repr, of.metadata["choices"]))
    kind = f"{{{choices}}}" if choices else str(of.type).replace(" | ", " or ")
    return f"{of.name} : {kind}, default {of.default!r}\n    {of.metadata['help']}"


_KINDS: dict[str, tuple[type, type, str]] = {
    "int": (numbers.Integral, int, "an integer"),
    "int | None": (numbers.Integral, int, "an integer or None"),
    "float": (numbers.Real, float, "a number"),
    "bool": (bool, bool, "True or False"),
    "str": (str, str, "text"),
}


def typed(name: str, kind: str, value: Any) -> Any:
    """The value of a field as what its annotation says. TypeError where it is something else."""
    wanted, made, rule = _KINDS[kind]
    if value is None and kind == "int | None":
        return None
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise TypeError(f"train: {name}: must be {rule}, got {value!r}")
    try:
        return made(value)
    except OverflowError:  # an integer too large for a float
        return float("inf")


def require(name: str, good: bool, rule: str, value: Any) -> None:
    if not good:
        raise ValueError(f"train: {name}: {rule}, got {value}")
