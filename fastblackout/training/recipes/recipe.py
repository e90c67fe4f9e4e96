"""What a recipe is."""

from __future__ import annotations

from typing import Any, NamedTuple

# Dense bfloat16 operations a second of an H100 SXM, by its data sheet; networks of this kind are taken to reach between
# a tenth and a quarter of them. The share is an assumption, not a measurement.
H100_PEAK, LOW, HIGH = 989e12, 0.10, 0.25

# What the authors' program, lanl/Blackout-Diffusion, does with every data set. [code] the program; [score_sde] the
# configuration it takes, configs/vp/cifar10_ncsnpp_continuous and configs/default_cifar10_configs of
# yang-song/score_sde_pytorch; [paper] Santos et al. 2023. What differs even so: the moving average is taken after the
# optimizer's step, not before it; the times of a batch are spread evenly, not drawn one by one; the loss is scaled by a
# constant, which Adam does not notice; convolutions are in bfloat16 on a GPU; dropout is off when samples are drawn.
AUTHORS: dict[str, Any] = {
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


class Recipe(NamedTuple):
    """options: options of training/config.py. sample: what to draw samples with. time: how long the training takes, and
    how that is known. about: one line on what it is."""

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
