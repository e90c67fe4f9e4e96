"""Weights trained by score_sde, or by the authors' Blackout Diffusion code on top of it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


@torch.no_grad()
def load_score_sde(network: nn.Module, checkpoint: Mapping[str, Any], weights: str = "ema") -> None:
    """Load a score_sde checkpoint into an `NCSNpp` of the same architecture (presets "cifar10", "celeba64", "mnist").

    Args:
        checkpoint: what `torch.load` gives: {"model": state dict, "ema": {"shadow_params": [...]}, ...}, the keys of
            the state dict with or without DataParallel's prefix "module.".
        weights: "ema" (what score_sde samples with; parameters in order) or "network".

    Raises:
        ValueError: if part of the checkpoint is missing or a name or shape does not fit; the network may then hold a
            part of it.
    """
    if weights not in ("ema", "network"):
        raise ValueError(f"load_score_sde: weights: must be 'ema' or 'network', got {weights!r}")
    needed = {"model", "ema"} if weights == "ema" else {"model"}
    if not needed <= set(checkpoint):
        raise ValueError(f"load_score_sde: checkpoint: must have the keys {sorted(needed)}, got {sorted(checkpoint)}")
    state = {name.removeprefix("module."): value for name, value in checkpoint["model"].items()}
    if not hasattr(network, "sigmas"):
        state.pop("sigmas", None)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"load_score_sde: checkpoint: must fit the network, got {error}") from error
    if weights == "network":
        return
    shadow, parameters = checkpoint["ema"]["shadow_params"], list(network.parameters())
    if [tuple(s.shape) for s in shadow] != [tuple(p.shape) for p in parameters]:
        raise ValueError(f"load_score_sde: checkpoint: ema must match {len(parameters)} parameters, got {len(shadow)}")
    for parameter, average in zip(parameters, shadow, strict=True):
        parameter.copy_(average)
