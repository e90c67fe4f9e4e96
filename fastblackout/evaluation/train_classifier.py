"""What made the files of weights/, for maintainers: `python -m fastblackout.evaluation.train_classifier --help`.

`... mnist --data ROOT --out FILE` trains the classifier whose features evaluate samples. It sees the 60,000 training
images alone, moved by up to two pixels and, of Fashion-MNIST, half of them mirrored. The learning rate rises and falls
once. On one thread the same seed gives the same bytes on machines of one kind.

`... floors --data ROOT --out FILE` takes Frechet distances of real images to the training images: what the best of
models can reach with so many samples. It wrote weights/floors.json before any model was judged by these features.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..atomic_files import atomic_write
from ..data import Dataset, load
from .features import CLASSES, HASHES, MAX_COUNT, SHAPE, Classifier, features_for, load_classifier
from .samples import Gaussian

if TYPE_CHECKING:
    from ..typing import DataName

EPOCHS = {"mnist": 5, "fashion-mnist": 8}
MIRRORED = {"mnist": False, "fashion-mnist": True}
BATCH, LEARNING_RATE, WEIGHT_DECAY, SHIFT = 128, 0.01, 0.01, 2
SIZES = (1_000, 5_000, 10_000)
SUBSETS = 10  # random subsets of each size, for the mean and its standard deviation


def train(data: Dataset, epochs: int, mirrored: bool, seed: int) -> Classifier:
    """A classifier of data.train, without normalization and rounded to float16 numbers, in eval mode."""
    torch.manual_seed(seed)
    network = Classifier(normalize=True).to(memory_format=torch.channels_last)
    fit(network, data, epochs, mirrored)
    return network.eval().folded().half().float().requires_grad_(False)


def fit(network: nn.Module, data: Dataset, epochs: int, mirrored: bool, learning_rate: float = LEARNING_RATE) -> None:
    """Trains a network of images in 0..1, to features and logits, on data.train, in an order by torch's generator.

    AdamW at a learning rate that rises to learning_rate over three tenths of the steps and falls to 0 (one cycle).
    """
    assert data.train_labels is not None
    images, labels = torch.from_numpy(data.train), torch.from_numpy(data.train_labels)
    steps = len(images) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * steps)
    for epoch in range(epochs):
        began, total = time.perf_counter(), 0.0
        for rows in torch.randperm(len(images))[: steps * BATCH].split(BATCH):
            with torch.autocast("cpu", torch.bfloat16):  # twice as fast where the processor multiplies bfloat16
                _, logits = network(_moved(images[rows], mirrored))
            loss = nn.functional.cross_entropy(logits.float(), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
            total += float(loss.detach())
        seconds = time.perf_counter() - began
        print(f"epoch {epoch + 1} of {epochs}: loss {total / steps:.4f}, {seconds:.0f} s", flush=True)


def _moved(counts: Tensor, mirrored: bool) -> Tensor:
    """Images (N, 1, 28, 28) in 0..1, each moved by up to SHIFT pixels along both axes, black coming in."""
    padded = nn.functional.pad(counts.float() / MAX_COUNT, (SHIFT,) * 4)
    windows = padded.unfold(2, SHAPE[1], 1).unfold(3, SHAPE[2], 1)  # (N, 1, offsets, offsets, 28, 28), a view
    down, right = torch.randint(0, 2 * SHIFT + 1, (2, len(counts)))
    images = windows[torch.arange(len(counts)), :, down, right]
    if mirrored:
        images = torch.where(torch.rand(len(counts), 1, 1, 1) < 0.5, images.flip(3), images)
    return images


@torch.no_grad()
def accuracy(network: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Share of images (N, 1, 28, 28) in counts that the network puts into their class."""
    named = [network(part.float() / MAX_COUNT)[1].argmax(dim=1) for part in torch.from_numpy(images).split(500)]
    return float(np.mean(torch.cat(named).numpy() == labels))


def floors(name: str, root: str) -> dict[str, Any]:
    """The distances of random subsets of the training images, and of the test images, to all training images."""
    data = load(cast("DataName", name), root)
    features = features_for(data)
    if features is None or data.held_out_labels is None:
        rule = "must be the 28x28 images with labels"
        raise ValueError(f"train_classifier: floors: {name} {rule}, got shape {data.shape}")
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
    """The command line: writes --out, and prints what is in it or how good the classifier is."""
    from safetensors.torch import save

    parser = argparse.ArgumentParser(prog="python -m fastblackout.evaluation.train_classifier", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", choices=[*EPOCHS, "floors"], help="the data set, or floors of all of them")
    parser.add_argument("--data", required=True, metavar="ROOT", help="the folder that holds it, as for `train`")
    parser.add_argument("--out", required=True, metavar="FILE", help="the .safetensors or .json file to write")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order of the images (0)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # sums in one order
    if options.name == "floors":
        text = json.dumps({name: floors(name, options.data) for name in HASHES}, indent=1) + "\n"
        atomic_write(options.out, text.encode())
        print(text, end="")
        return 0

    data = load(options.name, options.data)
    if data.shape != SHAPE or data.classes != CLASSES or data.held_out_labels is None:
        parser.error(f"{options.name}: must be images {SHAPE} of {CLASSES} classes, got {data.shape}, {data.classes}")
    began = time.perf_counter()
    network = train(data, EPOCHS[options.name], MIRRORED[options.name], options.seed)
    seconds = time.perf_counter() - began
    content = save({name: value.half().contiguous() for name, value in network.state_dict().items()})
    path = atomic_write(options.out, content)
    right = accuracy(network, data.held_out, data.held_out_labels)
    print(f"{path}: {len(content)} bytes, trained in {seconds:.0f} s, {right:.2%} of the test images right")
    print(f"SHA-256 {hashlib.sha256(content).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
