"""CIFAR-10: 50,000 images of 3x32x32, counts 0..255.

Sources: [paper] Santos et al. 2023, arXiv 2305.11089. [code] the authors' program, lanl/Blackout-Diffusion,
blackout-cifar10-train-by-finiteTime.ipynb. [score_sde] the configuration it takes, configs/vp/cifar10_ncsnpp_continuous
and configs/default_cifar10_configs of yang-song/score_sde_pytorch. [here] our choice.
"""

from .recipe import Recipe, time_on_h100

GIGAFLOP = 65.3  # an image, forward and backward

# What differs from the authors' program even so: the moving average is taken after the optimizer's step, not before it;
# the times of a batch are spread evenly, not drawn one by one; the loss is scaled by a constant, which Adam does not
# notice; convolutions are in bfloat16 on a GPU; dropout is off when samples are drawn.
PAPER = Recipe(
    about="the paper's setting, by the authors' program",
    options={
        "network": "cifar10",  # [score_sde] NCSN++, 62,693,251 parameters
        "dropout": 0.1,  # [score_sde]
        "head": "mean",  # [paper]
        "parametrization": "paper",  # [code] softplus of the output
        "input": "reference",  # [code] x_t - 127.5 p_t, not scaled
        "schedule": "logit",  # [paper] logit(p) evenly spaced
        "schedule_steps": 1000,  # [code] T
        "t_end": 15.0,  # [code] tEnd
        # [code] p_{k-1} - p_k. The other notebook, train-by-instantaneous: --weight instantaneous. Which of the two
        # gave the paper's Frechet distance of 4.58 is not known here.
        "weight": "finite-time",
        "times": "uniform",  # [code]
        "learning_rate": 2e-4,  # [score_sde] Adam, beta 0.9 and 0.999, eps 1e-8
        "warmup": 0,  # [code] calls optimizer.step() alone: score_sde's 5,000 steps of warm-up are not used,
        "clip": 1e30,  # [code] nor is its clipping
        "decay": False,  # [code]
        "ema": 0.9999,  # [score_sde] with its warm-up (1 + n) / (10 + n)
        "batch": 256,  # [code]
        "flip": True,  # [score_sde] random_flip
        # [score_sde] n_iters, the most that the program takes; how many the paper's network saw is not known here.
        "steps": 1_300_001,
    },
    sample="--compat lanl-2023",  # [code] every step, births rounded to the nearest number
    time=time_on_h100(GIGAFLOP, 1_300_001, 256),
)

# Chosen by what was measured on digits, MNIST and Fashion-MNIST (docs/training.md); not trained on CIFAR-10 yet.
BEST = Recipe(
    about="our choice by results on smaller data; not measured on CIFAR-10",
    options={
        "network": "cifar10",  # [paper]
        "dropout": 0.1,  # [score_sde]
        "head": "beta-binomial",  # [here] fewest steps for equal samples, from 10 on; bits of its own steps
        "input": "normalized",  # [here] of unit variance at every time: what did well on Fashion-MNIST
        "schedule": "cosine",  # [here] ends at p = 0, so that black is the exact start
        "schedule_steps": 1000,  # [here]
        "weight": "uniform",  # [here] that of a law
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
    time=time_on_h100(GIGAFLOP, 500_000, 256),
)

CIFAR10 = {"paper": PAPER, "best": BEST}
