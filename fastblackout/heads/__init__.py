"""The heads: what a network's outputs say of the births x_0 - x_t, for each name that `head=` and `--head` take.

A new head is one file in this folder, a subclass of `Head` as head.py describes it, one line below, and its name in
`HeadName` of typing.py. A file is imported when its head is asked for, because the command line shows the names without
NumPy and torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import Weight
    from .head import Head


class Listed(NamedTuple):
    """A head as the options of a training (training/config.py) know it.

    home: its file and class. options: the defaults of a training with this head. owns: options that belong to it alone.
    weights: the weights that its loss takes; the first belongs to it alone. With none named, it takes every weight that
    belongs to no other head.
    """

    home: str
    options: dict[str, Any] = {}
    owns: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()


_OF_LAW = {"weight": "uniform", "schedule": "cosine"}
HEADS = {
    "mean": Listed(".mean:Mean", owns=("parametrization",)),
    # The schedule was chosen by measurements, which docs/heads.md has. An energy score bounds no likelihood.
    "implicit": Listed(
        ".implicit:Implicit", {"weight": "energy", "schedule": "cosine"}, ("noise_channels", "draws"),
        weights=("energy", "uniform"),
    ),
    "beta-binomial": Listed(".beta_binomial:BetaBinomial", _OF_LAW),
    "bayes-logistic": Listed(".bayes_logistic:BayesLogistic", _OF_LAW, owns=("components",)),
    "negative-binomial": Listed(".negative_binomial:NegativeBinomial", _OF_LAW),
}  # fmt: skip
# Heads of earlier models, and the commit that reads these.
GONE = ("categorical", "bayes-categorical")
GONE_RULE = "must be one of this version's (the last commit that reads it is ee522888)"
_MADE: dict[str, Head] = {}


def check_head(op: str, name: Any, names: Sequence[str]) -> None:
    """ValueError unless it is one of these names of heads."""
    if isinstance(name, str) and name in GONE:
        raise ValueError(f"{op}: head: {GONE_RULE}, got {name!r}")
    from ..ground.values import check_name

    check_name(op, "head", name, names)


def head_named(name: str) -> Head:
    """The head of that name, one of HEADS."""
    if name not in _MADE:
        file, kind = HEADS[name].home.split(":")
        _MADE[name] = getattr(import_module(file, __name__), kind)(name)
    return _MADE[name]


def weight_of(name: str) -> Weight:
    """The weight of the loss of a head where none is named."""
    weight: Weight = HEADS[name].options.get("weight", "likelihood")
    return weight


def head_of(model: Any) -> Head:
    """The head that a model names, else "mean": other modules may have an attribute `head` as well."""
    name = getattr(model, "head", None)
    return head_named(name if isinstance(name, str) and name in HEADS else "mean")
