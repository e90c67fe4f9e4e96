"""CelebA as torchvision lays it out: faces cut out of the aligned images and resized."""

from __future__ import annotations

import os
from pathlib import Path

from ..atomic_files import read_plain
from .dataset import Dataset, make_dataset
from .files import read_images

TRAIN, VALIDATION, TEST = range(3)
# 140: score_sde's central_crop, datasets.py. 148: Real NVP, Dinh et al. 2017, arXiv 1605.08803. Others do not compare.
CROPS = (140, 148)
_MOST_OF_LIST = 1 << 26  # bytes; CelebA's own has 2.8 million
_PARTITION = "list_eval_partition.txt"


def load_celeba(root: str | os.PathLike[str], crop: int, resize: int) -> Dataset:
    """CelebA from root/celeba: `list_eval_partition.txt`, and the images of 178x218 in `img_align_celeba/`.

    The training part, 162,770 images, is trained on, and the test part, 19,962, held out; the validation part is left
    aside. The middle crop x crop pixels, 140 or 148, are made resize x resize by `shaping.shaped`. No labels.
    Raises ValueError naming the file or the line that is missing or wrong.
    """
    if crop not in CROPS:
        raise ValueError(f"load: crop: must be {' or '.join(map(str, CROPS))} for CelebA, got {crop}")
    folder = Path(root) / "celeba"
    parts = _parts(folder)
    train, held_out = (read_images(parts[part], crop, resize) for part in (TRAIN, TEST))
    return make_dataset("celeba64", train, max_count=255, held_out=held_out)


def _parts(folder: Path) -> dict[int, list[Path]]:
    """The images of each part, in the order of the list. ValueError where one of them is not there."""
    file, images = folder / _PARTITION, folder / "img_align_celeba"
    try:
        lines = read_plain(file, _MOST_OF_LIST).decode().splitlines()
    except OSError:
        raise ValueError(f"load: data: no {_PARTITION} in {folder}, the folder that torchvision makes") from None
    except UnicodeDecodeError:
        raise ValueError(f"load: {file}: must be a text of names and parts, got other bytes") from None
    except ValueError as error:
        raise ValueError(f"load: {file}: {error}") from None
    try:
        there = {entry.name for entry in os.scandir(images) if entry.is_file()}
    except OSError:
        raise ValueError(f"load: data: no folder of images {images}") from None
    parts: dict[int, list[Path]] = {TRAIN: [], VALIDATION: [], TEST: []}
    for number, line in enumerate(lines, 1):
        match line.split():
            case [name, ("0" | "1" | "2") as part]:
                if name not in there:
                    raise ValueError(f"load: {file}: line {number}: no image {ascii(name)} in {images}")
                parts[int(part)].append(images / name)
            case []:
                pass
            case _:
                raise ValueError(f"load: {file}: line {number}: must be a name and 0, 1 or 2, got {ascii(line[:100])}")
    for needed, what in ((TRAIN, "0 (training)"), (TEST, "2 (test)")):
        if not parts[needed]:
            raise ValueError(f"load: {file}: must list images of part {what}, got none")
    return parts
