"""Recipes: every option of a training that is worth naming, by data set, to be held beside the paper.

`train DATASET --recipe NAME` begins with the preset of the data set (data/__init__.py), puts the recipe's options in
their place, and then those given on the command line. A recipe is a value; what it means is in config.py.

Sources: [paper] Santos et al. 2023, arXiv 2305.11089. [code] the authors' program, lanl/Blackout-Diffusion, in the
notebook that a recipe names. [score_sde] the configuration it takes, configs/vp/cifar10_ncsnpp_continuous and
configs/default_cifar10_configs of yang-song/score_sde_pytorch. [here] our choice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..heads import HEADS

# Dense bfloat16 operations a second of an H100 SXM, by its data sheet; networks of this kind are taken to reach between
# a tenth and a quarter of them. The share is an assumption, not a measurement.
H100_PEAK, LOW, HIGH = 989e12, 0.10, 0.25


class Recipe(NamedTuple):
    """options: options of config.py. sample: what to draw samples with. time: how long the training takes, and how that
    is known. about: one line on what it is."""

    about: str
    options: dict[str, Any]
    sample: str
    time: str


def time_on_h100(gigaflop: float, steps: int, batch: int) -> str:
    """How long a training takes on an H100, derived, as a text that says so.

    gigaflop: what torch's FlopCounterMode counts of one forward and backward pass of one image, in 1e9.
    """
    hours = gigaflop * 1e9 * steps * batch / H100_PEAK / 3600
    how = f"derived, not measured: {gigaflop:.0f} GFLOP an image, at {LOW:.0%} to {HIGH:.0%} of its peak in bfloat16"
    return f"{hours / HIGH:.0f} to {hours / LOW:.0f} hours on one H100 SXM ({how})"


def _paper(gigaflop: float, batch: int, options: dict[str, Any]) -> Recipe:
    """What the authors' program does with every data set, and these options.

    What differs even so: the moving average is taken after the optimizer's step, not before it; the times of a batch
    are spread evenly, not drawn one by one; the loss is scaled by a constant, which Adam does not notice; convolutions
    are in bfloat16 on a GPU; dropout is off when samples are drawn.
    """
    of_all: dict[str, Any] = {
        "dropout": 0.1,  # [score_sde]
        "head": "mean",  # [paper]
        "parametrization": "paper",  # [code] softplus of the output
        "input": "reference",  # [code] x_t - max_count / 2 p_t, not scaled
        "schedule": "logit",  # [paper] logit(p) evenly spaced
        "schedule_steps": 1000,  # [code] T
        "times": "uniform",  # [code]
        "learning_rate": 2e-4,  # [score_sde] Adam, beta 0.9 and 0.999, eps 1e-8
        "warmup": 0,  # [code] calls optimizer.step() alone: score_sde's 5,000 steps of warm-up are not used,
        "clip": 1e30,  # [code] nor is its clipping
        "decay": False,  # [code]
        "ema": 0.9999,  # [score_sde] with its warm-up (1 + n) / (10 + n)
        # [score_sde] n_iters, the most that the program takes; how many the paper's network saw is not known here.
        "steps": 1_300_001,
    }
    return Recipe(
        about="the paper's setting, by the authors' program",
        options={**of_all, **options, "batch": batch},
        sample="--compat lanl-2023",  # [code] every step, births rounded to the nearest number
        time=time_on_h100(gigaflop, of_all["steps"], batch),
    )


# Digits: 1,797 images of 1x8x8, counts 0 to 16. Our best is the preset of the data set, which data/__init__.py has
# number by number. The paper has none.
_DIGITS_BEST = Recipe(
    about="the preset, a small network for a CPU",
    options={},
    sample="",
    time="4 minutes on one thread of a Zen 4 CPU (measured)",
)


def _mnist_best(steps: int, minutes: int) -> Recipe:
    """MNIST and Fashion-MNIST: 60,000 images of 1x28x28, counts 0 to 255, in ten classes.

    With these options the models that come with the package were trained, each in one run of seed 0 and one thread. The
    paper has neither: its MNIST is binarized. Every number is our choice; docs/results.md has what was measured.
    """
    return Recipe(
        about="a small network for a CPU, as the model that comes with the package",
        options={
            "network": "small",  # 218,514 parameters, less than 1 MB
            "channels": 16,  # half of the default, so that many more images are seen in the time
            "dropout": 0.0,
            "conditional": True,  # labels alone help, and guidance 0.5 does more
            "head": "beta-binomial",
            "input": "normalized",  # with unit and 1e-3 the distance was about twice as large after equal work
            "schedule": "cosine",  # ends at p = 0, so that black is the exact start
            "schedule_steps": 1000,
            "weight": "uniform",  # the weight of heads that give a law
            "times": "early",  # the distance of 20 steps was two to four times that with uniform ones
            "learning_rate": 3e-3,  # after 2,000 steps the loss was lower than with 1e-3
            "warmup": 100,
            "clip": 1.0,
            "decay": True,
            "ema": 0.999,  # for a short run
            "batch": 32,
            "flip": False,  # mirrored digits are none
            "steps": steps,
        },
        sample="--steps 20 --guidance 0.5",
        time=f"{minutes} minutes on one thread of an Emerald Rapids CPU, with --compile on (measured)",
    )


# Binarized MNIST: 60,000 images of 1x32x32, counts 0 and 1, resized and thresholded at a half.
# [code] blackout-binarizedMNIST-train-by-instantaneous.ipynb and loadDataPipeline.py.
# Nearest rounding never gives birth where fewer than half a particle is expected, which for counts of 0 and 1 loses
# most of the image: draw with the default too.
_MNIST_BINARY_PAPER = _paper(
    65.2,
    256,  # [code]
    {
        "network": "mnist",  # [score_sde] NCSN++ with one channel, 62,686,337 parameters
        "t_end": 10.0,  # [code] tEnd
        "weight": "instantaneous",  # [code] p_k (t_k - t_{k-1})
        "flip": False,  # [code] random_flip
    },
)
_MNIST_BINARY_BEST = Recipe(
    about="a small network for a CPU; not measured",
    options={
        "network": "small",  # [here]
        "dropout": 0.0,  # [here]
        "head": "beta-binomial",  # [here] whose law of 0 or 1 birth is any there is, so that bits are exact
        "input": "unit",  # [here]
        "schedule": "cosine",  # [here] ends at p = 0, so that black is the exact start
        "schedule_steps": 1000,  # [here]
        "weight": "uniform",  # [here] the weight of heads that give a law
        "times": "early",  # [here] what did well on digits and mnist
        "learning_rate": 5e-4,  # [here] the default of mnist
        "warmup": 100,  # [here]
        "clip": 1.0,  # [here]
        "decay": True,  # [here]
        "ema": 0.999,  # [here] for a short run
        "batch": 128,  # [here]
        "flip": False,  # [here] mirrored digits are none
        "steps": 9_380,  # [here] 20 epochs
    },
    sample="--steps 100",  # [here] the grid early
    # An epoch of mnist, 28x28 and the same network, took 18 minutes; (32 / 28)^2 as many pixels.
    time="8 hours on one thread of a Zen 4 CPU (derived from an epoch of mnist)",
)

# CIFAR-10: 50,000 images of 3x32x32, counts 0..255. [code] blackout-cifar10-train-by-finiteTime.ipynb.
_CIFAR10_GIGAFLOP = 65.3  # an image, forward and backward
_CIFAR10_PAPER = _paper(
    _CIFAR10_GIGAFLOP,
    256,  # [code]
    {
        "network": "cifar10",  # [score_sde] NCSN++, 62,693,251 parameters
        "t_end": 15.0,  # [code] tEnd
        # [code] p_{k-1} - p_k. The other notebook, train-by-instantaneous: --weight instantaneous. Which of the two
        # gave the paper's Frechet distance of 4.58 is not known here.
        "weight": "finite-time",
        "flip": True,  # [score_sde] random_flip
    },
)
# Chosen by what was measured on digits, MNIST and Fashion-MNIST (docs/results.md); not trained on CIFAR-10 yet.
_CIFAR10_BEST = Recipe(
    about="our choice by results on smaller data; not measured on CIFAR-10",
    options={
        "network": "cifar10",  # [paper]
        "dropout": 0.1,  # [score_sde]
        "head": "beta-binomial",  # [here] fewest steps for equal samples, from 10 on; bits of its own steps
        "input": "normalized",  # [here] of unit variance at every time: what did well on Fashion-MNIST
        "schedule": "cosine",  # [here] ends at p = 0, so that black is the exact start
        "schedule_steps": 1000,  # [here]
        "weight": "uniform",  # [here] the weight of heads that give a law
        "times": "early",  # [here] what did well on digits and mnist
        "learning_rate": 2e-4,  # [score_sde]
        "warmup": 5000,  # [score_sde]
        "clip": 1.0,  # [score_sde]
        "decay": False,  # [here] so that a run can go on for longer
        "ema": 0.9999,  # [score_sde]
        "batch": 256,  # [paper]
        "flip": True,  # [score_sde]
        "steps": 500_000,  # [here] 128 million images
    },
    sample="--steps 100",  # [here] the grid early
    time=time_on_h100(_CIFAR10_GIGAFLOP, 500_000, 256),
)

# CelebA: 162,770 faces of 3x64x64, counts 0..255. [code] blackout-celebA64-train-by-instantaneous.ipynb, which reads an
# array that the authors prepared. Neither its crop nor which images it leaves out is known here: the crop of 140 is
# score_sde's.
_CELEBA64_GIGAFLOP = 252.0
_CELEBA64_PAPER = _paper(
    _CELEBA64_GIGAFLOP,
    100,  # [code]
    {
        "network": "celeba64",  # [score_sde] NCSN++ as for CIFAR-10, attention at 16x16
        "t_end": 15.0,  # [code] tEnd
        "weight": "instantaneous",  # [code] p_k (t_k - t_{k-1})
        "flip": False,  # [code] takes the images of its array as they are
    },
)
# The options of CIFAR-10, chosen by what was measured on smaller data (docs/results.md); not trained on CelebA yet.
_CELEBA64_BEST = Recipe(
    about="our choice by results on smaller data; not measured on CelebA",
    options=_CIFAR10_BEST.options
    | {
        "network": "celeba64",  # [paper]
        "batch": 128,  # [here]: 64 million images
    },
    sample="--steps 100",  # [here] the grid early
    time=time_on_h100(_CELEBA64_GIGAFLOP, 500_000, 128),
)

RECIPES: dict[str, dict[str, Recipe]] = {
    "digits": {"best": _DIGITS_BEST},
    "mnist": {"best": _mnist_best(16_000, 35)},  # 512,000 images, eight and a half passes
    "fashion-mnist": {"best": _mnist_best(45_000, 103)},  # 1,440,000 images, 24 passes
    "mnist-binary": {"paper": _MNIST_BINARY_PAPER, "best": _MNIST_BINARY_BEST},
    "cifar10": {"paper": _CIFAR10_PAPER, "best": _CIFAR10_BEST},
    "celeba64": {"paper": _CELEBA64_PAPER, "best": _CELEBA64_BEST},
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
    recipes = RECIPES.get(dataset, {})
    if name not in recipes:
        rule = (
            f"must be {' or '.join(recipes)} for {dataset}" if recipes else f"there is none for {dataset}, leave it out"
        )
        raise ValueError(f"train: recipe: {rule}, got {name}")
    options = dict(recipes[name].options)
    if given.get("head", options.get("head")) != options.get("head"):
        of_one_head = {option for head in HEADS.values() for option in (*head.options, *head.owns)}
        options = {option: value for option, value in options.items() if option not in of_one_head}
    if "epochs" in given:
        options.pop("steps", None)
    return {**options, **given}
