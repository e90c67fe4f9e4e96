"""The reference ops built on the shared-p draw: thin, bridge_step, tau_leap_step in NumPy, and stochastic rounding."""

import math

import numpy as np
import pytest
from scipy import stats

from fastblackout.philox import Philox
from fastblackout.reference import binomial, bridge, common, tau_leap, thin
from fastblackout.reference.philox import Stream, philox4x32


def ones(batch, value=1.0):
    return np.full(batch, value)


def test_thin_outputs_and_batch_split():
    rng = np.random.default_rng(0)
    x_0 = rng.integers(0, 256, (6, 3, 5), dtype=np.uint8)
    p = rng.random(6)
    center, scale = 127.5 * p, 1 / (1 + p)

    def run(rows, outputs=("x_t", "births", "model_input"), dtype="float32"):
        key = Philox(9, first_sample=rows.start, call=2)
        return thin.thin(x_0[rows], p[rows], 1 - p[rows], key, 255, center[rows], scale[rows], outputs, dtype)

    x_t, births, value = run(slice(0, 6))
    assert x_t.dtype == births.dtype == np.uint8 and value.dtype == np.float32 and value.shape == x_0.shape
    assert (x_t.astype(int) + births == x_0).all() and 0 < x_t.sum() < x_0.sum()
    c, s = (v.astype(np.float32)[:, None, None] for v in (center, scale))
    assert (value == (x_t.astype(np.float32) - c) * s).all()
    for first, last in ((0, 1), (1, 4), (4, 6)):
        for whole, part in zip((x_t, births, value), run(slice(first, last)), strict=True):
            assert (whole[first:last] == part).all()
    assert [v is None for v in run(slice(0, 6), ("births",))] == [True, False, True]
    half = run(slice(0, 6), ("model_input",), "float16")[2]
    assert half.dtype == np.float16 and (half == value.astype(np.float16)).all()
    brain = run(slice(0, 6), ("model_input",), "bfloat16")[2]
    assert brain.dtype == np.uint16
    np.testing.assert_allclose((brain.astype(np.uint32) << 16).view(np.float32), value, rtol=2.0**-8)


def test_each_count_chooses_its_draw():
    """One of at most 255 the table's, a larger one the element draw: neither max_count nor its neighbours matter."""
    x_0 = np.random.default_rng(1).integers(250, 262, (2, 400))
    p, key, rest = np.array([0.3, 0.8]), Philox(3), (ones(2, 0.0), ones(2), ("x_t",), "float32")

    def thinned(counts, maximum):
        return thin.thin(counts, p, 1 - p, key, maximum, *rest)[0]

    drawn, large = thinned(x_0, 1000), x_0 > 255
    assert 300 < large.sum() < 500 and (thinned(x_0, 261) == drawn).all()
    assert (thinned(np.where(large, 0, x_0), 255)[~large] == drawn[~large]).all()
    wide_p, wide_q = np.broadcast_to(p[:, None], x_0.shape), np.broadcast_to(1 - p[:, None], x_0.shape)
    alone = binomial.binomial(np.where(large, x_0, 0), wide_p, wide_q, key, Stream.THIN_ELEMENT)
    assert (alone[large] == drawn[large]).all()
    for row in range(2):  # 6.5 standard errors of the mean of 400 draws: false alarm 1e-10
        n, p_row = x_0[row], p[row]
        assert abs(drawn[row].sum() - n.sum() * p_row) < 6.5 * math.sqrt(n.sum() * p_row * (1 - p_row))


def test_zero_dimensional_and_empty():
    half = ones(1, 0.5)
    point, row = (
        thin.thin(np.array(x_0), half, half, Philox(1), 255, half, half, ("x_t",), "float32")[0] for x_0 in (9, [9])
    )
    assert point.shape == () and row.shape == (1,) and int(point) == int(row[0])
    for shape in ((0, 3), (3, 0)):
        batch = ones(shape[0], 0.5)
        empty = np.zeros(shape, np.uint8)
        assert thin.thin(empty, batch, batch, Philox(1), 255, batch, batch, ("x_t",), "float32")[0].shape == shape


def call_bridge(x_t, births=None, logits=None, p=0.5, rounding="stochastic", sigma=None, key=None, gain=1.0):
    batch = len(x_t)
    pair = (None, None) if sigma is None else (ones(batch, sigma), ones(batch, 1 - sigma))
    gain, p, q = ones(batch, gain), ones(batch, p), ones(batch, 1 - p)
    args = (p, q, *pair, key or Philox(4), 255, gain, rounding == "stochastic", ones(batch, 0.0), ones(batch))
    return bridge.bridge(x_t, logits, births, *args, ("x_s", "model_input"), "float32")


def test_stochastic_rounding_mean_is_exact():
    # Over all 2^48 values of V, floor(frac 2^48) give one more: the mean is y up to 2^-48, for every float32 fraction
    # of at least 2^-24 exactly y. The comparison itself is checked by the drawn mean: 200,000 draws, 6.5 errors, 1e-10.
    for y in (0.25, 3.75, 1e-3, 254.5, 7.0):
        stored = np.full((4, 50_000), y, np.float32)
        exact = float(stored[0, 0])
        drawn = common.round_births(stored.astype(np.float64), 255, Philox(8), True)
        fraction = exact - math.floor(exact)
        assert set(np.unique(drawn)) <= {math.floor(exact), math.floor(exact) + 1}
        assert abs(drawn.mean() - exact) <= 6.5 * math.sqrt(fraction * (1 - fraction) / drawn.size)


def test_rounding_words_and_tie():
    size, key = 11, Philox(6, first_sample=3, call=1)
    words = [[int(w) for w in philox4x32(i // 4, 3, 1, 10 << 24, 6, 0)][i % 4] for i in range(size)]
    low = [int(philox4x32(i, 3, 1, 11 << 24, 6, 0)[0]) & 0xFFFF for i in range(size)]
    v = np.array([words[i] << 16 | low[i] for i in range(size)], dtype=np.int64)
    # y = V / 2^48 and its neighbour: a tie of the top 32 bits, decided by the low 16; 48-bit values are exact float64.
    for step, expected in ((0, 0), (1, 1)):
        assert (common.round_births(((v + step) / 2.0**48)[None], 255, key, True) == expected).all()


def test_nearest_rounding_ties_up_and_cap():
    y = np.array([[0.49999997, 0.5, 1.5, 2.5, 254.5, 300.0]])
    assert common.round_births(y, 255, Philox(1), False).tolist() == [[0, 1, 2, 3, 255, 255]]


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
def test_bridge_p_1_births_all_and_respects_room(rounding):
    x_t = np.array([[0, 250, 255, 10]], dtype=np.uint8)
    x_s, value = call_bridge(x_t, births=np.array([[7.0, 7.0, 7.0, 3e38]]), p=1.0, rounding=rounding)
    assert x_s.tolist() == [[7, 255, 255, 255]] and x_s.dtype == np.uint8
    assert value.tolist() == [[7.0, 255.0, 255.0, 255.0]]


def test_bridge_logits_gain_and_extremes():
    logits = np.array([[-100.0, 3e38, -3e38, 300.0]], dtype=np.float32)
    x_t = np.zeros((1, 4), dtype=np.uint8)
    assert call_bridge(x_t, logits=logits, p=1.0)[0].tolist() == [[0, 255, 0, 255]]
    assert call_bridge(x_t, logits=logits, p=1.0, gain=0.0)[0].tolist() == [[0, 0, 0, 0]]
    logits = np.full((1, 40_000), 2.0, np.float32)  # mean births 3 * softplus(2) / 2, 6.5 standard errors
    births = call_bridge(np.zeros((1, 40_000), np.uint8), logits=logits, gain=3.0)[0]
    mean = 3 * math.log1p(math.exp(2.0))
    assert abs(births.mean() - mean / 2) < 6.5 * math.sqrt((mean / 4 + 0.25) / 40_000)


def test_bridge_with_attrition_keeps_marginals():
    # x_t ~ Bin(60, 0.4) with births x_0 - x_t gives x_s ~ Bin(60, 0.55). Chi-square, false alarm 1e-6, fixed seed.
    n, p_t, p_s, sigma = 60, 0.4, 0.55, 0.3
    beta = (p_s - (1 - sigma) * p_t) / (1 - p_t)
    x_0 = np.full((1, 200_000), n, dtype=np.uint8)
    x_t, left, _ = thin.thin(
        x_0, ones(1, p_t), ones(1, 1 - p_t), Philox(2), 255, ones(1, 0.0), ones(1), ("x_t", "births"), "float32"
    )
    x_s, _ = call_bridge(x_t, births=left.astype(np.float32), p=beta, sigma=sigma, key=Philox(2))
    assert (x_s < x_t).any()
    expected = stats.binom.pmf(np.arange(n + 1), n, p_s) * x_0.size
    keep = expected > 10
    seen = np.bincount(x_s.ravel(), minlength=n + 1)[keep]
    assert stats.chi2.sf(((seen - expected[keep]) ** 2 / expected[keep]).sum(), keep.sum() - 1) > 1e-6


def test_bridge_and_leap_batch_split():
    rng = np.random.default_rng(2)
    x_t = rng.integers(0, 200, (5, 13), dtype=np.uint8)
    logits = rng.normal(1, 2, (5, 13)).astype(np.float32)

    def leap(rows):
        batch, key = rows.stop - rows.start, Philox(4, first_sample=rows.start)
        args = (ones(batch, 0.4), key, 255, ones(batch, 2.0), ones(batch, 0.0), ones(batch), ("x_s",), "float32")
        return tau_leap.tau_leap(x_t[rows], logits[rows], None, *args)[0]

    def step(rows):
        return call_bridge(x_t[rows], logits=logits[rows], sigma=0.1, key=Philox(4, first_sample=rows.start))[0]

    for run in (leap, step):
        whole = run(slice(0, 5))
        assert (whole != x_t).any()
        assert (np.concatenate([run(slice(0, 2)), run(slice(2, 5))]) == whole).all()


def test_tau_leap_mean_and_overshoot():
    x_t = np.zeros((2, 20_000), dtype=np.uint8)
    births = np.full(x_t.shape, 10.0, np.float32)
    args = (np.array([0.5, 2.0]), Philox(3), 20, ones(2), ones(2, 0.0), ones(2), ("x_s", "model_input"), "float32")
    x_s, value, overshoot = tau_leap.tau_leap(x_t, None, births, *args)
    assert (value == x_s).all() and x_s.max() == 20 and overshoot.dtype == np.int64
    assert abs(x_s[0].mean() - 5) < 6.5 * math.sqrt(5 / 20_000)  # Pr(Poisson(5) > 20) is 8e-8: no bias to see
    chance = stats.poisson.sf(20, 20.0)
    assert abs(overshoot[1] - 20_000 * chance) < 6.5 * math.sqrt(20_000 * chance)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"x_t": [[300]]}, r"x_t: must be whole numbers in 0\.\.255, got 300"),
        ({"x_t": [[-1]]}, r"x_t: must be whole numbers in 0\.\.255, got -1"),
        ({"x_t": [[math.nan]]}, r"x_t: must be whole numbers in 0\.\.255, got nan"),
        ({"x_t": [[0.5]]}, r"x_t: must be whole numbers in 0\.\.255, got 0.5"),
        ({"births": [[-1.0]]}, "births: must be finite and at least 0, got -1"),
        ({"births": [[1e39]]}, r"births: must be finite and at least 0, got 9\.99\d+e\+38"),
        ({"births": None, "logits": [[math.nan]]}, "logits: must be finite in float32, got nan"),
        ({"births": None, "logits": [[-1e39]]}, r"logits: must be finite in float32, got -9\.99\d+e\+38"),
        ({"p": 1.5}, r"step: must be in \[0, 1\], got 1.5"),
        ({"sigma": math.nan}, r"attrition: must be in \[0, 1\], got nan"),
        ({"x_t": [[1], [2]], "births": [[1], [2]], "key": Philox(first_sample=2**32 - 1)}, "rng: .* 2 rows"),
    ],
)
def test_wrong_values(change, text):
    arguments = {"x_t": [[3]], "births": [[1.0]], **change}
    arrays = {name: np.array(v) for name, v in arguments.items() if isinstance(v, list)}
    with pytest.raises(ValueError, match=f"bridge_step: {text}"):
        call_bridge(**{**arguments, **arrays})


def test_wrong_values_of_thin_and_leap():
    one = ones(1)
    with pytest.raises(ValueError, match=r"thin: x_0: must be whole numbers in 0\.\.255, got 300"):
        thin.thin(np.array([[300]]), one, 0 * one, Philox(1), 255, one, one, ("x_t",), "float32")
    with pytest.raises(ValueError, match=r"thin: alive: must be in \[0, 1\], got -0.5"):
        thin.thin(np.array([[3]]), -0.5 * one, 1.5 * one, Philox(1), 255, one, one, ("x_t",), "float32")
    for bad in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"tau_leap_step: step: must be finite and at least 0, got {bad}"):
            args = (np.array([bad]), Philox(1), 255, one, one, one, ("x_s",), "float32")
            tau_leap.tau_leap(np.array([[3]]), None, np.ones((1, 1)), *args)
