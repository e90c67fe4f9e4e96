"""Small files in the format of MNIST."""

import gzip
import struct

import numpy as np

from fastblackout.data import load


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def mnist_files(root, suffix=""):
    rng = np.random.default_rng(0)
    made = {}
    for part, count in (("train", 12), ("t10k", 5)):
        made[part] = rng.integers(0, 256, (count, 6, 4)), rng.integers(0, 10, count)
        made[part][1][0] = 9 if part == "train" else 0
        write_idx(root / "MNIST/raw" / f"{part}-images-idx3-ubyte{suffix}", made[part][0])
        write_idx(root / "MNIST/raw" / f"{part}-labels-idx1-ubyte{suffix}", made[part][1])
    return made


def enlarged_digits():
    """scikit-learn's handwritten digits, enlarged to look like MNIST's: (counts (1797, 1, 28, 28), labels)."""
    data = load("digits", resize=20)
    images = np.concatenate([data.train, data.held_out]).astype(int) * 255 // 16
    labels = np.concatenate([data.train_labels, data.held_out_labels])
    return np.pad(images.astype(np.uint8), ((0, 0), (0, 0), (4, 4), (4, 4))), labels


def digit_files(root, count):
    """The first of them as both parts of an MNIST."""
    for part in ("train", "t10k"):
        for kind, array in zip(("images-idx3", "labels-idx1"), enlarged_digits(), strict=True):
            write_idx(root / "MNIST/raw" / f"{part}-{kind}-ubyte", array[:count].squeeze())
