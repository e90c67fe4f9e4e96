"""Data sets of counts in memory: what is taken, and what each refusal says."""

import numpy as np
import pytest
import torch
from PIL import Image

from fastblackout.data import load_folder, make_dataset

COUNTS, LABELS = np.arange(320).reshape(20, 1, 4, 4) % 7, np.arange(20) % 2
PARTS = {"held_out": COUNTS[:4], "max_count": 6}


def test_tensors_and_lists_of_labels():
    made = make_dataset("few", torch.from_numpy(COUNTS), LABELS.tolist(), max_count=np.int64(6))
    expected = make_dataset("few", COUNTS, LABELS, max_count=6)
    assert made.sha256 == expected.sha256 and made.train.dtype == np.uint8
    assert made.classes == 2 and type(made.max_count) is int


@pytest.mark.parametrize(
    ("kind", "words", "arguments", "options"),
    [
        (TypeError, "images: must be an array or a tensor of counts, got None", (None,), {"max_count": 6}),
        (TypeError, r"images: must be an array or a tensor of counts, got \[\[1\]\]", ([[1]],), {"max_count": 6}),
        (TypeError, "images: must be .* got 'held'", (COUNTS,), {"max_count": 6, "held_out": "held"}),
        (TypeError, "max_count: must be an integer, got 6.5", (COUNTS,), {"max_count": 6.5}),
        (ValueError, "max_count: must be in 1..9007199254740992 for int64", (COUNTS,), {"max_count": 0}),
        (ValueError, "images: must hold integer counts", (COUNTS / 7,), {"max_count": 6}),
        (ValueError, "images: must have shape", (COUNTS[0],), {"max_count": 6}),
        (ValueError, "images: counts must lie in 0..5, got 6", (COUNTS,), {"max_count": 5}),
        (ValueError, "labels: must be 20 integers", (COUNTS, LABELS[:3]), {"max_count": 6}),
        (ValueError, "held-out labels: must be left out", (COUNTS,), {"max_count": 6, "held_out_labels": LABELS}),
        (ValueError, "labels: .* got no held-out ones", (COUNTS, LABELS), PARTS),
        (ValueError, "labels: .* got no training ones", (COUNTS,), {**PARTS, "held_out_labels": LABELS[:4]}),
    ],
)  # fmt: skip
def test_wrong_arguments(kind, words, arguments, options):
    with pytest.raises(kind, match=f"^few: {words}"):
        make_dataset("few", *arguments, **options)


def test_linked_folders(tmp_path):
    """As in ImageFolder of torchvision. A link back to a folder above is not followed round and round."""
    for name in ("cats", "elsewhere/dogs"):
        (tmp_path / name).mkdir(parents=True)
        for n in range(6):
            Image.new("L", (4, 4), n + 10 * len(name)).save(tmp_path / name / f"{n}.png")
    (tmp_path / "images").mkdir()
    for name, target in (("cats", "cats"), ("dogs", "elsewhere/dogs"), ("back", "images"), ("gone.png", "nothing")):
        (tmp_path / "images" / name).symlink_to(tmp_path / target)
    data = load_folder(tmp_path / "images")
    assert len(data.train) + len(data.held_out) == 12 and data.classes == 2
    assert sorted({int(x.flat[0]) // 10 for x in data.train}) == [4, 14]


@pytest.mark.parametrize(
    ("kind", "words", "shaping"),
    [
        (ValueError, "crop: must be in 1..16384, got 0", {"crop": 0}),
        (ValueError, "resize: must be in 1..16384, got -4", {"resize": -4}),
        (TypeError, "resize: must be an integer, got 4.5", {"resize": 4.5}),
    ],
)
def test_shapes_of_a_folder(kind, words, shaping, tmp_path):
    with pytest.raises(kind, match=f"load: {words}"):
        load_folder(tmp_path, **shaping)
