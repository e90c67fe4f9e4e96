"""Code of other projects before and after, as in examples/, and whole steps of the libraries that call such functions.

tests/project compares what both draw. `pip install -r requirements-peers.txt` brings the libraries (Python >= 3.12).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from support.helpers import load_example

SPLITS = load_example("library_splits")
Call = Callable[[], Any]


def _in_turns(bench: Any, case: str, elements: int, before: Call, after: Call) -> None:
    bench(case, elements, lambda i: after(), {"before": lambda i: before()}, lambda: None)


@pytest.mark.parametrize("name", ["countsdiff_loop", "jump_loop", "token_loop", "bridge_loop", "photon_split"])
def test_loop(bench: Any, name: str) -> None:
    example = load_example(name)
    _in_turns(bench, name, 1, example.before, example.after)


def _cells(cells: int, genes: int) -> torch.Tensor:
    """Three quarters are 0, and the mean is 1."""
    generator = torch.Generator().manual_seed(5)
    return torch.poisson(torch.exp(2.0 * torch.randn(cells, genes, generator=generator) - 2.0), generator=generator)


def _images() -> torch.Tensor:
    """Up to 100 photons, as multiples of a gain of 0.01."""
    generator = torch.Generator().manual_seed(5)
    return torch.poisson(100.0 * torch.rand(8, 3, 256, 256, generator=generator), generator=generator) / 100


def _photons() -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).poisson(100.0, (1024, 1024)).astype(np.uint16)


@pytest.mark.parametrize("shape", [pytest.param((10_000, 2000), marks=pytest.mark.long), (256, 4000)])
def test_scvi(bench: Any, shape: tuple[int, int]) -> None:
    x, p = _cells(*shape), torch.rand(shape[0], 1, generator=torch.Generator().manual_seed(5))
    before, after = (functools.partial(split, x, p) for split in (SPLITS.scvi_before, SPLITS.scvi_after))
    _in_turns(bench, f"scvi-tools, {shape[0]}x{shape[1]}", x.numel(), before, after)


def test_deepinv(bench: Any) -> None:
    y, gain = _images(), torch.tensor(0.01)
    before, after = SPLITS.deepinv_before, SPLITS.deepinv_after
    _in_turns(bench, "deepinv, 8x3x256x256", y.numel(), lambda: before(y, 0.15, gain)(), lambda: after(y, 0.15, gain)())


def test_cubic(bench: Any) -> None:
    image = _photons()
    before, after = (functools.partial(split, image) for split in (SPLITS.cubic_before, SPLITS.cubic_after))
    _in_turns(bench, "cubic, 1024x1024", image.size, before, after)


def _use_in_turns(bench: Any, case: str, module: Any, name: str, after: Any, use: Call) -> None:
    """`use`, which calls a function of a library's module, with that function and with ours in its place."""

    def use_with(function: Any) -> None:
        setattr(module, name, function)
        use()

    before = getattr(module, name)
    try:
        _in_turns(bench, case, 1, lambda: use_with(before), lambda: use_with(after))
    finally:
        setattr(module, name, before)


def _step(optimizer: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]) -> None:
    optimizer.zero_grad()
    loss().backward()
    optimizer.step()


def test_scvi_step(bench: Any) -> None:
    """A training step of JointEmbeddingSCVI with its defaults: 128 hidden units, 10 latent ones."""
    module = pytest.importorskip("scvi.external.joint_embedding_scvi._module")
    x, zeros = _cells(256, 4000), torch.zeros(256, 1)
    network = module.JointEmbeddingVAE(n_input=x.shape[1])
    optimizer = torch.optim.Adam(network.parameters())
    use = lambda: _step(optimizer, lambda: network({"X": x, "batch": zeros, "labels": zeros})[2].loss)  # noqa: E731
    _use_in_turns(bench, "scvi-tools, a step", module, "binomial_split", SPLITS.scvi_after, use)


@pytest.mark.long
def test_deepinv_step(bench: Any) -> None:
    """A training step of a U-Net of two scales by the R2R loss."""
    module = pytest.importorskip("deepinv.loss.r2r")
    from deepinv import models, physics

    denoising, loss = physics.Denoising(physics.PoissonNoise(gain=0.01)), module.R2RLoss()
    network = loss.adapt_model(models.ArtifactRemoval(models.UNet(in_channels=3, out_channels=3, scales=2)))
    y, optimizer = _images(), torch.optim.Adam(network.parameters())

    def value() -> torch.Tensor:
        return loss(network(y, denoising, update_parameters=True), y, denoising, network).mean()

    use = lambda: _step(optimizer, value)  # noqa: E731
    _use_in_turns(bench, "deepinv, a step", module, "set_binomial_corruptor", SPLITS.deepinv_after, use)


def test_cubic_resolution(bench: Any) -> None:
    """The resolution of one image."""
    module = pytest.importorskip("cubic.metrics.spectral.frc")
    image = _photons()
    use = lambda: module.calculate_frc(image, split_type="binomial", backend="hist")  # noqa: E731
    _use_in_turns(bench, "cubic, a resolution", module, "binomial_split", SPLITS.cubic_after, use)
