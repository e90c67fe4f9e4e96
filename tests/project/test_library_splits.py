"""Functions of scvi-tools, deepinv and cubic: before, after and the original have one law, and treat edges alike.

`pip install -r requirements-peers.txt` with Python 3.12 or later brings the originals. Without them their tests are
skipped. The seeds are fixed. With other seeds a comparison of right laws would fail once in a million times.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from support.helpers import chi_square, load_example

FALSE_ALARM = 1e-6
EXAMPLE = load_example("library_splits")
THEIRS = {
    "scvi": ("scvi.external.joint_embedding_scvi._utils", "binomial_split"),
    "deepinv": ("deepinv.loss.r2r", "set_binomial_corruptor"),
    "cubic": ("cubic.image_utils", "binomial_split"),
}
COUNTS = (1, 7, 60, 300, 40_000)


def installed(module):
    return pytest.importorskip(module, reason=f"{module} is not installed: pip install -r requirements-peers.txt")


@pytest.fixture(params=["before", "after", "theirs"])
def function(request):
    """Of the library that a test is named after."""
    library = request.node.originalname.split("_")[1]
    if request.param != "theirs":
        return getattr(EXAMPLE, f"{library}_{request.param}")
    module, name = THEIRS[library]
    return getattr(installed(module), name)


def has_the_law(drawn, n, p):
    return chi_square(drawn, stats.binom(n, p)) > FALSE_ALARM


def test_scvi_law(function):
    torch.manual_seed(0)
    p = torch.tensor([[0.02], [0.3], [0.97]])
    for n in COUNTS:
        x = torch.full((3, 20_000), float(n))
        x_1, x_2 = function(x, p)
        assert torch.equal(x_1 + x_2, x)
        assert all(has_the_law(drawn, n, float(share)) for drawn, share in zip(x_1, p, strict=True))
        assert has_the_law(function(x[0])[0], n, 0.5)


@pytest.fixture(autouse=True)
def validating(monkeypatch):
    """torch.compile, in a test before, lets distributions of torch no longer look at their arguments."""
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)


def test_scvi_edges(function):
    """It rounds to the nearest even number, takes counts below 0 for 0, and gives floats of x's dtype."""
    x = torch.tensor([[0.5, 1.5, 2.4, -3.0, -0.2, 1e7]]).expand(3, 6)
    for dtype in (torch.float32, torch.float64):
        x_1, x_2 = function(x.to(dtype), torch.tensor([[0.0], [1.0], [0.5]], dtype=dtype))
        whole = torch.tensor([0, 2, 2, 0, 0, 1e7], dtype=dtype)
        assert x_1.dtype == x_2.dtype == dtype and x_1.shape == (3, 6)
        assert not x_1[0].any() and torch.equal(x_1[1], whole) and torch.equal(x_1 + x_2, whole.expand(3, 6))
    for p in (0.0, 1.0):
        assert torch.equal(function(x, p)[0], p * whole.float().expand(3, 6))
    for wrong in (torch.tensor([[float("nan")]]), torch.tensor([[1.5]]), -0.1):
        with pytest.raises(ValueError):
            function(x[:1], wrong)
    assert function(torch.tensor([[3, 4]]), torch.ones(1, 1))[0].tolist() == [[3, 4]]
    assert EXAMPLE.scvi_after(torch.tensor([[3, 4]]), 0.5)[0].dtype == torch.int64  # the original gives floats
    x.requires_grad_()
    assert function(torch.empty(0, 6), 0.5)[0].shape == (0, 6) and not function(x, 0.5)[0].requires_grad


def test_deepinv_law(function):
    """y_1 (1 - alpha) / gamma is binomial, and every draw is a new one."""
    torch.manual_seed(0)
    for n in COUNTS:
        for alpha, gamma in ((0.15, 0.01), (0.5, torch.tensor(3.0))):
            y = torch.full((20_000,), float(n)) * gamma
            corruptor = function(y, alpha, gamma)
            draws = [(corruptor() * (1 - alpha) / gamma).double() for _ in range(2)]
            assert all((draw - draw.round()).abs().max() < 1e-5 * n + 1e-3 for draw in draws)
            assert all(has_the_law(draw.round(), n, 1 - alpha) for draw in draws)
            assert abs(np.corrcoef(*draws)[0, 1]) < 5 / np.sqrt(20_000)  # 6e-7


def test_deepinv_edges(function):
    """Of a y that is no multiple of gamma the nearest count is split, and the rest stays."""
    y, gamma = torch.tensor([[[0.0, 0.26, 0.49, 3.0]]]), torch.tensor([0.1])
    untouched = function(y, 0.0, gamma)()
    assert untouched.dtype == torch.float32 and untouched.shape == y.shape and torch.allclose(untouched, y)
    removed = (y - function(y, 0.9, gamma)() * (1 - 0.9)) / gamma
    assert torch.allclose(removed, removed.round(), atol=1e-5)
    assert (removed >= -1e-5).all() and (removed <= torch.tensor([0, 3, 5, 30]) + 1e-5).all()
    for wrong in (-y, y.new_tensor([float("nan")])):
        with pytest.raises(ValueError):
            function(wrong, 0.5, gamma)()


def test_cubic_law(function):
    for n in COUNTS:
        image = np.full((100, 200), 100 + 2 * n, np.uint16 if n < 30_000 else np.int32)
        for p in (0.5, 0.2):
            one, other = function(image, p, gain=2.0, offset=100.0, rng=n)
            assert np.array_equal(one + other, np.full(image.shape, n)) and has_the_law(one, n, p)
    one, other = function(np.full((100, 200), 40.0), 0.2, counts_mode="poisson_thinning", rng=1)
    for drawn, mean in ((one, 8.0), (other, 32.0)):
        assert chi_square(drawn, stats.poisson(mean)) > FALSE_ALARM
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(20_000)  # 6e-7


@pytest.mark.filterwarnings("ignore:.*pixels:UserWarning")  # cubic's own, of numbers that are no counts
def test_cubic_edges(function):
    """Seeds and generators are taken; noise of the camera is added before and taken off after."""
    image = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    for rng in (3, np.random.default_rng(3), None):
        halves = function(image, rng=rng)
        assert all(half.dtype == np.float32 and half.shape == image.shape for half in halves)
        assert np.array_equal(sum(halves), image)
    generator = np.random.default_rng(3)
    first, again, second = function(image, rng=3)[0], function(image, rng=3)[0], function(image, rng=generator)[0]
    assert np.array_equal(first, again) and not np.array_equal(second, function(image, rng=generator)[0])
    below = np.array([[-5.0, -0.2, 0.0, 7.0] * 8])  # a read-out noise of 2 electrons stands for 4 more
    one, other = function(below, readout_noise_rms=2.0, rng=1)
    assert (one[below <= 0] <= 2).all() and (one + other >= below - 1e-6).all() and one.min() == 0
