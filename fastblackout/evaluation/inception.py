"""The Inception network of published Frechet distances (FID), from torch-fidelity and a local file of its weights."""

from __future__ import annotations

import io
import os
from typing import Any

import torch
from torch import Tensor

from ..atomic_files import read_plain
from ..ground.extras import lacking
from . import fidelity
from .features import Features
from .pinned import checked

FILE = "weights-inception-2015-12-05-6726825d.pth"  # of torch-fidelity's releases, version 0.2.0
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
MOST_BYTES = 1 << 28  # the file has 95,628,359
BATCH = 50
LAYERS = ("2048", "logits_unbiased")  # what torch-fidelity takes for FID, KID, precision and recall; for the score


def read_inception(path: str | os.PathLike[str]) -> bytes:
    """The content of the weights' file, after its SHA-256 was compared and before anything in it was read.

    Raises ValueError without torch-fidelity, for a file that cannot be read, and for any other than `FILE`.
    """
    if fidelity.version() is None:
        raise lacking("evaluate: inception", "torch-fidelity")
    try:
        content = read_plain(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"evaluate: inception: {path}: {reason}") from None
    return checked(f"inception: {path}: must be {FILE}", content, SHA256)


def inception_features(content: bytes, max_count: int, device: str | torch.device = "cpu") -> Features:
    """The 2,048 features of FID and the class probabilities of the Inception score, by torch-fidelity's network.

    content: what `read_inception` gave. Counts are scaled to 0..255 and rounded, grey images repeated to three
    channels; the network resizes them to 299x299 itself. Raises ValueError from a call for other numbers of channels.
    """
    from torch_fidelity import FeatureExtractorInceptionV3

    # It reads the weights with torch.load, from the bytes that were compared and not from a file that may have changed.
    weights: Any = io.BytesIO(content)
    network = FeatureExtractorInceptionV3("inception-v3-compat", list(LAYERS), feature_extractor_weights_path=weights)
    network.to(device)

    name = f"Inception of torch-fidelity {fidelity.version()}"
    return Features(name, SHA256, lambda counts: network(rgb_bytes(counts, max_count)), device, BATCH, stand_in=False)


def rgb_bytes(counts: Tensor, max_count: int) -> Tensor:
    """Counts (N, 1 or 3, H, W) in 0..max_count as RGB images (N, 3, H, W) of uint8."""
    if counts.shape[1] not in (1, 3):
        raise ValueError(f"evaluate: inception: images must have 1 or 3 channels, got {counts.shape[1]}")
    scaled = torch.round(counts * (255 / max_count)).to(torch.uint8)
    return scaled.expand(-1, 3, -1, -1)
