"""Binarized MNIST: 60,000 images of 1x32x32, counts 0 and 1, resized and thresholded at a half.

Sources: [paper] Santos et al. 2023, arXiv 2305.11089. [code] the authors' program, lanl/Blackout-Diffusion,
blackout-binarizedMNIST-train-by-instantaneous.ipynb and loadDataPipeline.py. [score_sde] the configuration it takes
(recipe.py). [here] our choice.
"""

from .recipe import AUTHORS, Recipe, time_on_h100

GIGAFLOP = 65.2  # an image, forward and backward, of the paper's network

# Nearest rounding never gives birth where fewer than half a particle is expected, which for counts of 0 and 1 loses
# most of the image: draw with the default too.
PAPER = Recipe(
    about="the paper's setting, by the authors' program",
    options=AUTHORS
    | {
        "network": "mnist",  # [score_sde] NCSN++ with one channel, 62,686,337 parameters
        "t_end": 10.0,  # [code] tEnd
        "weight": "instantaneous",  # [code] p_k (t_k - t_{k-1})
        "batch": 256,  # [code]
        "flip": False,  # [code] random_flip
    },
    sample="--compat lanl-2023",  # [code]
    time=time_on_h100(GIGAFLOP, 1_300_001, 256),
)

BEST = Recipe(
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

MNIST_BINARY = {"paper": PAPER, "best": BEST}
