"""The numbers of `evaluate` against formulas written another way, and against data whose verdict is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import linalg

from fastblackout.data import load
from fastblackout.evaluation.samples import (
    Gaussian,
    Judge,
    compare,
    frechet_distance,
    nearest_distance,
    on_pixels,
    table,
)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_frechet_distance_is_the_formula():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 1
    y = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    c_x, c_y = np.cov(x.T), np.cov(y.T)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c_x + c_y - 2 * linalg.sqrtm(c_x @ c_y).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_of_known_cases():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 17, (50, 1, 8, 8)).astype(np.uint8)  # fewer samples than pixels: a singular covariance
    assert frechet_distance(x, x) < 1e-4
    assert frechet_distance(x, x.astype(float) + 3) == pytest.approx(64 * 9, rel=1e-6)
    one = rng.normal(size=(100, 1))
    assert frechet_distance(one, 3 * one) == pytest.approx((2 * one.mean()) ** 2 + 4 * one.var(ddof=1), rel=1e-9)
    for bad in (x[:1], x[:, :, :4]):
        with pytest.raises(ValueError, match="frechet_distance"):
            frechet_distance(bad, x)


def test_gaussian_draws_have_the_moments(digits):
    drawn = Gaussian(digits.train).draw(20_000, seed=1)
    flat = digits.train.reshape(1500, -1).astype(float)
    assert np.abs(drawn.mean(0) - flat.mean(0)).max() < 5 * 6.2 / np.sqrt(20_000)  # 6.2: a pixel's largest
    assert np.abs(np.cov(drawn.T) - np.cov(flat.T)).max() < 6 * 1.5 * 6.2**2 / np.sqrt(20_000)


def test_nearest_distance_is_the_nearest(digits):
    some = digits.held_out[:40]
    plain = [min(np.sqrt(((a.astype(float) - b) ** 2).sum()) for b in digits.train[:300].astype(float)) for a in some]
    assert nearest_distance(some, digits.train[:300]) == pytest.approx(np.mean(plain), rel=1e-12)
    assert nearest_distance(digits.train[5:9], digits.train) < 1e-5


def test_pixels_above_half():
    assert on_pixels(np.array([0, 8, 9, 16]), 16) == 0.5
    assert on_pixels(np.array([0, 7, 8, 15], dtype=np.uint8), 15) == 0.5


def test_the_judge_knows_digits_from_noise(digits):
    judge = Judge(digits.train, digits.train_labels, 16)
    named, sure = judge(digits.held_out)
    assert (named == digits.held_out_labels).mean() > 0.96
    assert sure.mean() > 0.85
    assert (named == digits.held_out_labels)[sure].mean() > 0.99
    noise = np.rint(Gaussian(digits.train).draw(500, seed=0)).clip(0, 16)
    assert judge(noise.reshape(500, 1, 8, 8))[1].mean() < 0.3
    blank, sure_of_blank = judge(np.zeros((1, 1, 8, 8), dtype=np.uint8))
    assert blank.shape == (1,)
    assert not sure_of_blank[0]


def test_the_judge_of_two_classes(digits):
    some = digits.train_labels < 2
    judge = Judge(digits.train[some], digits.train_labels[some], 16)
    named, sure = judge(digits.train[some])
    assert (named == digits.train_labels[some]).all()
    assert sure.mean() > 0.9


def test_a_memoriser_shows(digits):
    result = compare(digits.train[:1000], digits)
    assert result["nearest_samples"] < 1e-5 < 10 < result["nearest_held_out"]
    assert result["frechet_samples"] < result["frechet_held_out"] < result["frechet_noise"]
    assert result["frechet_split"] < result["frechet_noise"]
    assert sum(result["class_shares"]) == pytest.approx(1)
    assert all(0.04 < share < 0.2 for share in result["class_shares"])
    text = table(result)
    assert f"{result['frechet_noise']:.2f}" in text
    assert f"{result['sure_held_out']:.1%}" in text
    assert sum("#" in line for line in text.splitlines()) == 10


def test_several_sets(digits):
    """Means and spreads over the sets; equal numbers of samples and held-out images beside the unequal ones."""
    rng = np.random.default_rng(0)
    sets = [digits.train[rng.permutation(1500)[:1000]] for _ in range(3)]
    result, single = compare(sets, digits), compare(sets[1], digits)
    for name in ("frechet_samples", "frechet_samples_as_many", "nearest_samples", "sure_samples"):
        each = result["each"][name]
        assert each[1] == single[name]
        assert result[name] == pytest.approx(np.mean(each))
        assert result["spread"][name] == pytest.approx(np.std(each, ddof=1))
    assert (result["sets"], result["samples"], result["as_many"]) == (3, 1000, 297)
    assert "spread" not in single and "+-" not in table(single)
    some = digits.train[np.arange(297) * 1500 // 297]
    fewer = compare(some, digits)
    assert fewer["frechet_samples"] == fewer["frechet_samples_as_many"]
    assert fewer["frechet_samples"] == pytest.approx(frechet_distance(some, digits.train), rel=1e-6)
    # Real images, but few: nearly as far from the training images as the held-out ones, which the larger sets are not.
    assert result["frechet_samples"] < 5 < 15 < result["frechet_samples_as_many"] < result["frechet_held_out"]
    assert fewer["frechet_held_out_as_many"] == fewer["frechet_held_out"]
    many = compare(digits.train[:200], digits)
    assert many["frechet_held_out_as_many"] > many["frechet_held_out"] == result["frechet_held_out"]
    for bad in ([], [sets[0], sets[1][:-1]]):
        with pytest.raises(ValueError, match="compare: samples"):
            compare(bad, digits)


def test_the_order_of_the_data_does_not_matter(digits, monkeypatch):
    """The data lie in the order of their classes. `evaluate` uses only a part of them, as it does with large sets."""
    monkeypatch.setattr("fastblackout.evaluation.samples.JUDGE_TRAIN", 300)
    monkeypatch.setattr("fastblackout.evaluation.samples.NEAREST_QUERY", 100)
    rows, held_out = np.argsort(digits.train_labels), np.argsort(digits.held_out_labels)
    in_order = replace(
        digits, train=digits.train[rows], train_labels=digits.train_labels[rows],
        held_out=digits.held_out[held_out], held_out_labels=digits.held_out_labels[held_out],
    )  # fmt: skip
    result = compare(digits.held_out[held_out], in_order)
    assert result["judge_accuracy"] > 0.9  # .3 of those it knew, if it had seen the first 300
    assert result["sure_samples"] == pytest.approx(result["sure_held_out"], abs=0.1)
    assert result["nearest_samples"] == result["nearest_held_out"] == pytest.approx(16.7, abs=0.5)  # as of all


def test_what_is_no_set_of_samples_is_named(digits):
    some = digits.train[:4]
    for wrong, error, rule in (
        (some / 16, ValueError, "must be counts, whole numbers of at least 0, got 0"),
        (some.astype(int) - 1, ValueError, "must be counts, whole numbers of at least 0, got -1"),
        (np.full(some.shape, np.nan), ValueError, "must be counts, whole numbers of at least 0, got nan"),
        (some.tolist(), TypeError, "must be an array or a tensor of counts, an AnnData or a path, got list"),
        (list(digits.train[:300]), ValueError, r"need 2 or more of .* got (\(1, 8, 8\), ){3}\(1, 8, 8\) and 296 more$"),
    ):
        with pytest.raises(error, match=f"^compare: samples: {rule}"):
            compare(wrong, digits)


def test_the_table_says_how_to_read_it(digits):
    sets = [digits.train[:1000], digits.train[500:]]
    result = compare(sets, digits)
    text = table(result)
    flat = " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert f"1000 samples {result['frechet_samples']:.2f} +- {result['spread']['frechet_samples']:.2f}" in flat
    assert f"297 of them, as many as held-out images {result['frechet_samples_as_many']:.2f} +- " in flat
    assert "held-out images may score worse than samples" in flat
    assert "over 2 sampling seeds of this one training; another training seed moves" in flat
    assert "Warning" not in text
    few = table(compare(digits.train[:999], digits))
    assert "Warning: with fewer than 1000 samples" in few and "seeds" not in few
    assert "100 of them, as many as samples" in table(compare(digits.train[:100], digits))


def test_without_labels(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 9, (60, 4, 4)))
    data = load("array", tmp_path / "a.npy")
    result = compare(data.held_out, data)
    assert "class_shares" not in result
    assert "SVM" not in table(result)
    with pytest.raises(ValueError, match="compare: samples"):
        compare(data.held_out[:, :, :2], data)
