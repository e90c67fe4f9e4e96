"""The short examples with a loop before and after: what both draw has the same law, and ends where it must."""

import numpy as np
import pytest
import torch

from support.helpers import load_example


def means_agree(one, other, sigmas=5):
    """Whether two tables of draws (N, elements) have means that differ by no more than chance would, by two z scores:
    of the sum of all elements, and of the squares of their differences."""
    n = len(one)
    spread = np.sqrt((one.var(0) + other.var(0)) / n + 1e-12)
    z = ((one.mean(0) - other.mean(0)) / spread)[spread > 1e-5]
    return abs(z.sum()) / np.sqrt(z.size) < sigmas and abs((z**2).mean() - 1) * np.sqrt(z.size / 2) < 2 * sigmas


def test_countsdiff_loop(monkeypatch):
    example = load_example("countsdiff_loop")
    images = example.IMAGES[:4]
    assert torch.equal(example.after(images), images.float()) and torch.equal(example.before(images), images.float())
    few = images[:1, :1, :8, :8].expand(200, 1, 8, 8)
    monkeypatch.setattr(example, "STEPS", 8)  # of 20: where a third of the particles is alive
    torch.manual_seed(0)
    one, other = (loop(few).flatten(1).double().numpy() for loop in (example.before, example.after))
    assert means_agree(one, other) and 0.2 < one.sum() / few.sum() < 0.5


def test_jump_loop():
    example = load_example("jump_loop")
    rates = torch.linspace(0, 1, 50).expand(1000, 50)
    torch.manual_seed(0)
    one, other = (loop(rates).double().numpy() for loop in (example.before, example.after))
    assert means_agree(one, other) and example.after(rates).dtype == torch.float32
    np.testing.assert_allclose(other.var(0), rates[0] / example.LAMBDA, rtol=0.25, atol=1e-9)  # Poisson
    assert other.mean() == pytest.approx(0.5, abs=0.005)


def test_token_loop(monkeypatch):
    example = load_example("token_loop")
    text = example.TEXT[:2]
    torch.manual_seed(0)
    for loop in (example.before, example.after):
        noised, end = loop(text)
        assert 0.2 < (noised == example.WORDS).double().mean() < 0.6 and (noised[noised < example.WORDS] >= 0).all()
        assert torch.equal(noised[noised < example.WORDS], text[noised < example.WORDS])
        assert (end == text).double().mean() > 0.95
    monkeypatch.setattr(example, "TIMES", [8.0, 1.0, 0.5])  # the chance of a mask is then 0.393, of 1,536 +- 0.0125
    for loop in (lambda seed: example.before(), lambda seed: example.after(seed=seed)):
        masked = [(loop(seed)[1] == example.WORDS).double().mean() for seed in range(6)]
        assert np.mean(masked) == pytest.approx(0.393, abs=0.05)


def test_bridge_loop(monkeypatch):
    example = load_example("bridge_loop")
    assert all(torch.equal(loop()[1], example.X_0) for loop in (example.before, example.after))
    x_0, x_1 = (x[:1, :60].expand(3000, 60) for x in (example.X_0, example.X_1))
    monkeypatch.setattr(torch, "rand", lambda *shape: torch.full(shape, 0.3))
    torch.manual_seed(0)
    moves = [((loop(x_0, x_1)[0] - x_0) * (x_1 - x_0).sign()).numpy() for loop in (example.before, example.after)]
    assert means_agree(*moves) and all(move.min() >= 0 and (move <= (x_1 - x_0).abs().numpy()).all() for move in moves)


def test_photon_split():
    example = load_example("photon_split")
    photons = example.PHOTONS[:2]
    for split in (example.before, example.after):
        one, other = split(photons)
        assert one.dtype == other.dtype == np.uint16 and np.array_equal(one + other, photons)
        residuals = [half - example.CLEAN / 2 for half in (one, other)]
        assert abs(np.mean(residuals[0] * residuals[1])) < 0.05 * np.mean(residuals[0] ** 2)
    denoised = example.denoised(photons)
    assert denoised.mean() == pytest.approx(photons.mean(), rel=1e-3)
    assert np.mean((denoised - example.CLEAN) ** 2) < 0.15 * np.mean((photons - example.CLEAN) ** 2)
