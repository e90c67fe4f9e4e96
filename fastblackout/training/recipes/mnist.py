"""MNIST and Fashion-MNIST: 60,000 images of 1x28x28, counts 0 to 255, in ten classes. With these options the models
that come with the package were trained, each in one run of seed 0 and one thread.

The paper has neither: its MNIST is binarized, see mnist_binary.py. Every number is our choice; docs/results.md has what
was measured.
"""

from .recipe import Recipe

_OPTIONS = {
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
}


def _best(steps: int, minutes: int) -> Recipe:
    return Recipe(
        about="a small network for a CPU, as the model that comes with the package",
        options={**_OPTIONS, "steps": steps},
        sample="--steps 20 --guidance 0.5",
        time=f"{minutes} minutes on one thread of an Emerald Rapids CPU, with --compile on (measured)",
    )


MNIST = {"best": _best(16_000, 35)}  # 512,000 images, eight and a half passes
FASHION_MNIST = {"best": _best(45_000, 103)}  # 1,440,000 images, 24 passes
