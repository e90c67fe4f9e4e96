"""The short examples with a loop before and after: what both draw has the same law, and ends where it must."""

import ast
import re

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from support import ROOT
from support.helpers import chi_square_counts, load_example


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


def test_bridge_loop():
    """The law is x_t = x_0 + sign(x_1 - x_0) Binomial(|x_1 - x_0|, w), here for all x_0, x_1 <= 5 and every x_t. A part
    of a part has the law of the product. Right laws would fail with fewer than one seed in a million."""
    example = load_example("bridge_loop")
    assert all(torch.equal(loop()[1], example.X_0) for loop in (example.before, example.after))
    states, draws = np.arange(6), 5000
    x_0, x_1 = (x.ravel() for x in np.meshgrid(states, states))
    moved = np.where((states - x_0[:, None]) * np.sign(x_1 - x_0)[:, None] >= 0, abs(states - x_0[:, None]), -1)
    whole = [torch.from_numpy(x).float().expand(draws, -1) for x in (x_0, x_1)]
    torch.manual_seed(0)
    after = lambda x_0, x_1, w: example.between_after(x_0, x_1, w, fb.Philox(int(1e6 * w[-1])))  # noqa: E731
    for between in (example.between_before, after):
        for first, second in ((0.3, 1.0), (0.9, 0.4), (1.0, 0.0)):
            w, again = torch.full((draws, 1), first), torch.full((draws, 1), second)
            x_t = between(whole[0], between(*whole, w), again).numpy()
            expected = draws * stats.binom.pmf(moved, abs(x_1 - x_0)[:, None], first * second)
            seen = (x_t[:, :, None] == states).sum(0)
            assert seen.sum() == x_t.size and not seen[expected == 0].any()
            assert chi_square_counts(seen.ravel(), expected.ravel()) > 1e-6


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


def lines_of(name, when):
    """How many lines the functions before or after have, but for empty lines, in the file of a loop or of a library."""
    path = ROOT / "examples" / f"{name}.py"
    path, ending = (path, when) if path.exists() else (path.with_name("library_splits.py"), f"{name}_{when}")
    text = path.read_text()
    functions = [node for node in ast.parse(text).body if getattr(node, "name", "").endswith(ending)]
    return sum(map(bool, "".join(ast.get_source_segment(text, node) + "\n" for node in functions).splitlines()))


def test_the_page_says_how_many_lines_there_are_before_and_after():
    page = (ROOT / "docs/drop-in.md").read_text()
    rows = re.findall(r"^\| \[?`(\w+?)(?:\.py|_after)`.* \| (\d+), (\d+) \|", page, re.MULTILINE)
    assert len(rows) == 8 and all(lines_of(name, "before") == int(before) for name, before, _ in rows)
    assert all(lines_of(name, "after") == int(after) for name, _, after in rows)
