"""Frechet distances of real images to the training images: what the best of models can reach with so many samples.

`python -m fastblackout.evaluation.frechet_floors --data ROOT --out FILE` wrote weights/floors.json, before any model
was judged by these features.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from ..atomic_files import atomic_write
from ..data import load
from .classifier import HASHES, load_classifier
from .features import features_for
from .gaussian import Gaussian
from .train_classifier import accuracy

if TYPE_CHECKING:
    from ..typing import DataName

SIZES = (1_000, 5_000, 10_000)
SUBSETS = 10  # random subsets of each size, for the mean and its standard deviation


def floors(name: str, root: str) -> dict[str, Any]:
    """The distances of random subsets of the training images, and of the test images, to all training images."""
    data = load(cast("DataName", name), root)
    features = features_for(data)
    if features is None or data.held_out_labels is None:
        raise ValueError(f"frechet_floors: {name}: must be the 28x28 images with labels, got shape {data.shape}")
    train, test = features(data.train), features(data.held_out)
    whole, random = Gaussian(train), np.random.default_rng(0)

    def subsets(images: np.ndarray[Any, Any], size: int) -> dict[str, float]:
        count = SUBSETS if size < len(images) else 1
        found = [whole.distance(Gaussian(images[random.permutation(len(images))[:size]])) for _ in range(count)]
        return {"mean": round(float(np.mean(found)), 6), "spread": round(float(np.std(found, ddof=count > 1)), 6)}

    return {
        "sha256": features.hash,
        "test_accuracy": round(accuracy(load_classifier(name), data.held_out, data.held_out_labels), 4),
        "features": train.shape[1],
        "train": {str(size): subsets(train, size) for size in SIZES},
        "test": {str(size): subsets(test, size) for size in SIZES},
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line: writes the distances of both data sets to --out, as JSON, and prints them."""
    parser = argparse.ArgumentParser(prog="python -m fastblackout.evaluation.frechet_floors", description=__doc__)
    parser.add_argument("--data", required=True, metavar="ROOT", help="the folder that holds the data sets")
    parser.add_argument("--out", required=True, metavar="FILE", help="the .json file to write")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    text = json.dumps({name: floors(name, options.data) for name in HASHES}, indent=1) + "\n"
    atomic_write(options.out, text.encode())
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
