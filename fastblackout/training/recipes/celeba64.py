"""CelebA at 64x64: 162,770 faces of 3x64x64, counts 0..255.

Sources: [paper] Santos et al. 2023, arXiv 2305.11089. [code] the authors' program, lanl/Blackout-Diffusion,
blackout-celebA64-train-by-instantaneous.ipynb. [score_sde] the configuration it takes (recipe.py). [here] our choice.
"""

from . import cifar10
from .recipe import AUTHORS, Recipe, time_on_h100

GIGAFLOP = 252.0  # an image, forward and backward

# The authors' program reads an array that they prepared. Neither its crop nor which images it leaves out is known here:
# the crop of 140 is score_sde's.
PAPER = Recipe(
    about="the paper's setting, by the authors' program",
    options=AUTHORS
    | {
        "network": "celeba64",  # [score_sde] NCSN++ as for CIFAR-10, attention at 16x16
        "t_end": 15.0,  # [code] tEnd
        "weight": "instantaneous",  # [code] p_k (t_k - t_{k-1})
        "batch": 100,  # [code]
        "flip": False,  # [code] takes the images of its array as they are
    },
    sample="--compat lanl-2023",  # [code]
    time=time_on_h100(GIGAFLOP, 1_300_001, 100),
)

# The options of CIFAR-10, chosen by what was measured on smaller data (docs/results.md); not trained on CelebA yet.
BEST = Recipe(
    about="our choice by results on smaller data; not measured on CelebA",
    options=cifar10.BEST.options
    | {
        "network": "celeba64",  # [paper]
        "batch": 128,  # [here]: 64 million images
    },
    sample="--steps 100",  # [here] the grid early
    time=time_on_h100(GIGAFLOP, 500_000, 128),
)

CELEBA64 = {"paper": PAPER, "best": BEST}
