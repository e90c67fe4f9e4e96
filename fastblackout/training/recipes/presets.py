"""Digits, MNIST and Fashion-MNIST: our best is the preset of the data set, which data/sets.py has number by number.

The paper has none of them: its MNIST is binarized, see mnist_binary.py.
"""

from .recipe import Recipe

_LONG = "64 hours on one thread of a Zen 4 CPU (derived from one epoch of mnist, 18 minutes); --epochs 20: 6 hours"

DIGITS = {
    "best": Recipe(
        about="the preset, a small network for a CPU",
        options={},
        sample="",
        time="4 minutes on one thread of a Zen 4 CPU (measured)",
    )
}
MNIST = {"best": Recipe(about="the preset, a small network for a CPU", options={}, sample="", time=_LONG)}
FASHION_MNIST = MNIST
