"""CelebA at 64x64: 162,770 faces of 3x64x64, counts 0..255.

Sources: [paper] Santos et al. 2023, arXiv 2305.11089. [code] the authors' program, lanl/Blackout-Diffusion,
blackout-celebA64-train-by-instantaneous.ipynb. [score_sde] the configuration it takes,
configs/vp/cifar10_ncsnpp_continuous of yang-song/score_sde_pytorch. [here] our choice.
"""

from .recipe import Recipe, time_on_h100

GIGAFLOP = 252.0  # an image, forward and backward

# What differs from the authors' program even so is said in cifar10.py. It reads an array that was prepared before, of
# which neither the crop nor the images left out are known here: the crop of 140 is score_sde's.
PAPER = Recipe(
    about="the paper's setting, by the authors' program",
    options={
        "network": "celeba64",  # [score_sde] NCSN++ as for CIFAR-10, attention at 16x16
        "dropout": 0.1,  # [score_sde]
        "head": "mean",  # [paper]
        "parametrization": "paper",  # [code] softplus of the output
        "input": "reference",  # [code] x_t - 127.5 p_t, not scaled
        "schedule": "logit",  # [paper]
        "schedule_steps": 1000,  # [code] T
        "t_end": 15.0,  # [code] tEnd
        "weight": "instantaneous",  # [code] p_k (t_k - t_{k-1})
        "times": "uniform",  # [code]
        "learning_rate": 2e-4,  # [score_sde] Adam
        "warmup": 0,  # [code]
        "clip": 1e30,  # [code] none
        "decay": False,  # [code]
        "ema": 0.9999,  # [score_sde]
        "batch": 100,  # [code]
        "flip": False,  # [code] takes the images of its array as they are
        # [score_sde] n_iters, the most that the program takes; how many the paper's network saw is not known here.
        "steps": 1_300_001,
    },
    sample="--compat lanl-2023",  # [code]
    time=time_on_h100(GIGAFLOP, 1_300_001, 100),
)

# Chosen by what was measured on digits, MNIST and Fashion-MNIST (docs/training.md); not trained on CelebA yet.
BEST = Recipe(
    about="our choice by results on smaller data; not measured on CelebA",
    options={
        "network": "celeba64",  # [paper]
        "dropout": 0.1,  # [score_sde]
        "head": "beta-binomial",  # [here]
        "input": "normalized",  # [here] of unit variance at every time: what did well on Fashion-MNIST
        "schedule": "cosine",  # [here] ends at p = 0, so that black is the exact start
        "schedule_steps": 1000,  # [here]
        "weight": "uniform",  # [here] that of a law
        "times": "early",  # [here] what did well on digits and mnist
        "learning_rate": 2e-4,  # [score_sde]
        "warmup": 5000,  # [score_sde]
        "clip": 1.0,  # [score_sde]
        "decay": False,  # [here]
        "ema": 0.9999,  # [score_sde]
        "batch": 128,  # [here]
        "flip": True,  # [here]
        "steps": 500_000,  # [here] 64 million images
    },
    sample="--steps 100",  # [here] the grid early
    time=time_on_h100(GIGAFLOP, 500_000, 128),
)

CELEBA64 = {"paper": PAPER, "best": BEST}
