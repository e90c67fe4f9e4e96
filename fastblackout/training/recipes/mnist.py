"""MNIST and Fashion-MNIST: 60,000 images of 1x28x28, counts 0 to 255, in ten classes. With these options the models
that come with the package were trained, each in one run of seed 0 and one thread.

The paper has neither: its MNIST is binarized, see mnist_binary.py. Every number is our choice; docs/results.md has what
was measured.
"""

from .recipe import Recipe

BEST = Recipe(
    about="a small network for a CPU, as the model that comes with the package",
    options={
        "network": "small",  # 218,514 parameters, less than 1 MB
        "channels": 16,  # half of the default, so that many more images are seen in the time
        "dropout": 0.0,
        "conditional": True,  # labels alone help, and guidance 0.5 does more
        "head": "beta-binomial",
        "input": "unit",
        "schedule": "cosine",  # ends at p = 0, so that black is the exact start
        "schedule_steps": 1000,
        "weight": "uniform",  # that of a law
        "times": "early",  # the distance of 20 steps was two to four times that with uniform ones
        "learning_rate": 1e-3,
        "warmup": 100,
        "clip": 1.0,
        "decay": True,
        "ema": 0.999,  # for a short run
        "batch": 32,
        "flip": False,  # mirrored digits are none
        "steps": 16_000,  # 512,000 images, eight and a half passes
    },
    sample="--steps 20 --guidance 0.5",
    time="45 minutes on one thread of a Zen 4 CPU (measured)",
)

MNIST = FASHION_MNIST = {"best": BEST}
