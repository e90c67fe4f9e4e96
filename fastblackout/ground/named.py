"""What a public function says where it is called with a name that it has no argument of, or with too many values."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from .values import is_number, shown

F = TypeVar("F", bound=Callable[..., Any])

# Names that NumPy, SciPy and torch have for one argument, with ours among them.
_SAME = (
    {"rng", "seed", "key", "random_state"},
    {"prob", "probs", "alive", "p", "pvals"},
    {"count", "counts", "n", "r", "total_count"},
    {"rate", "lam", "mu"},
    {"mean", "loc", "mu"},
    {"std", "scale", "sigma"},
    {"shape", "a", "alpha", "concentration", "concentration1"},
    {"b", "beta", "concentration0"},
    {"good", "ngood"},
    {"bad", "nbad"},
    {"draws", "nsample"},
    {"x", "k", "value"},
)
# What gives the law that other numbers stand for: torch's rate and probs, and NumPy's p.
_MADE_OF = {
    "gamma": {"rate": "scale=1 / rate"},
    "negative_binomial": {"p": "mean=r * (1 - p) / p", "probs": "mean=r * probs / (1 - probs)"},
}
_SIZES = ("size", "sample_shape")


def named(function: F) -> F:
    """The function, whose calls by other names than its own are told the right one.

    A call that is right enters one Python function more, and no check.
    """

    @functools.wraps(function)
    def called(*values: Any, **by_name: Any) -> Any:
        try:
            return function(*values, **by_name)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:  # of the function's own
                raise
        _refuse(function, values, by_name)

    return called  # type: ignore[return-value]


def name_all(package: dict[str, Any]) -> None:
    """Makes `named` of all functions in a package's __all__, where they are defined too, as pickle looks there.

    What other modules of the package have imported by then stays as it was: ops call one another without it.
    """
    for name in package["__all__"]:
        if inspect.isfunction(function := package[name]):
            package[name] = vars(sys.modules[function.__module__])[name] = named(function)


def _refuse(function: Callable[..., Any], values: Sequence[Any], by_name: Mapping[str, Any]) -> NoReturn:
    """The error of a call that the function cannot take."""
    op, given = function.__qualname__.removesuffix(".__init__"), inspect.signature(function).parameters
    ours = [name for name in given if name != "self"]
    free = [name for name in ours if given[name].kind is not inspect.Parameter.KEYWORD_ONLY]
    needed = [name for name in ours if given[name].default is inspect.Parameter.empty]
    values = values[len(given) - len(ours) :]
    for name, value in by_name.items():
        if name not in ours:
            raise TypeError(f"{op}: {name}: {right_name(op, name, ours)}, got {shown(value)}")
        if name in free[: len(values)]:
            raise TypeError(f"{op}: {name}: must be given once, got it by its place and by name")
    if len(values) <= len(free):
        lacking = next(name for name in needed if name not in by_name and name not in free[: len(values)])
        raise TypeError(f"{op}: {lacking}: must be given, got nothing")
    rule = f"all but {' and '.join(free)} must be given by name" if free else "must be none"
    if named_ones := [name for name in needed if name not in free]:
        told = dict(zip([*free, *named_ones], values, strict=False))
        told = {name: shown(value) if is_number(value) else name for name, value in told.items()}
        each = [*(told[name] for name in free), *(f"{name}={told.get(name, name)}" for name in named_ones)]
        rule += f", as in fb.{op}({', '.join(each)})"
    elif _broadcasts(ours):
        rule += ", and draws have the shape to which the arguments broadcast"
    rule += "".join(f"; {name} is {made}" for name, made in _MADE_OF.get(op, {}).items())
    raise TypeError(f"{op}: arguments: {rule}, got {len(values)} by their places")


def right_name(op: str, name: str, ours: Sequence[str]) -> str:
    """What is to be given in the place of an argument that `op` does not have. ours: those that it has."""
    if name in _SIZES and _broadcasts(ours):
        return f"must be the shape to which the arguments broadcast, as in fb.{op}(np.full({name}, {ours[0]}), ...)"
    if (made := _MADE_OF.get(op, {}).get(name)) is not None:
        return f"must be given as {made}"
    for same in _SAME:
        if name in same and (here := [each for each in ours if each in same]):
            return f"must be given as {here[0]}="
    return f"must be one of {', '.join(ours)}" if ours else "must not be given"


def _broadcasts(ours: Sequence[str]) -> bool:
    """Whether these are the arguments of an op that draws."""
    return {"rng", "backend"} <= set(ours)
