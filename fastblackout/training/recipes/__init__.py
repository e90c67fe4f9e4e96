"""Recipes: every option of a training that is worth naming, one file a data set, to be held beside the paper.

`train DATASET --recipe NAME` begins with the preset of the data set (data/__init__.py), puts the recipe's options in
their place, and then those given on the command line. A recipe is a value; what it means is in training/config.py.
"""

from __future__ import annotations

from typing import Any

from ...heads import HEADS
from .celeba64 import CELEBA64
from .cifar10 import CIFAR10
from .digits import DIGITS
from .mnist import FASHION_MNIST, MNIST
from .mnist_binary import MNIST_BINARY
from .recipe import Recipe

__all__ = ["RECIPES", "Recipe", "names", "options_of"]

RECIPES: dict[str, dict[str, Recipe]] = {
    "digits": DIGITS,
    "mnist": MNIST,
    "fashion-mnist": FASHION_MNIST,
    "mnist-binary": MNIST_BINARY,
    "cifar10": CIFAR10,
    "celeba64": CELEBA64,
}


def names() -> list[str]:
    """The names of all recipes there are."""
    return sorted({name for known in RECIPES.values() for name in known}, reverse=True)


def options_of(dataset: str, name: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """The options of a recipe, with those given in their place; these alone where no recipe is named.

    Where another head is given than the recipe's, the recipe's options that belong to its own head are left out.
    Raises ValueError for a recipe that the data set does not have.
    """
    if name is None:
        return dict(given)
    known = RECIPES.get(dataset, {})
    if name not in known:
        rule = f"must be {' or '.join(known)} for {dataset}" if known else f"there is none for {dataset}, leave it out"
        raise ValueError(f"train: recipe: {rule}, got {name}")
    options = dict(known[name].options)
    if given.get("head", options.get("head")) != options.get("head"):
        of_one_head = {option for head in HEADS.values() for option in (*head.options, *head.owns)}
        options = {option: value for option, value in options.items() if option not in of_one_head}
    if "epochs" in given:
        options.pop("steps", None)
    return {**options, **given}
