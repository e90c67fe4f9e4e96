"""Tables and functions of docs/draw.md beside the reference's, to the bit: draws show little of a last digit."""

import numpy as np
import pytest

from fastblackout.reference import categorical_rows, draw, gamma, normal, portfloat, redraw
from fastblackout.reference.philox import Stream
from support import specified_counts, specified_reals, specified_states, specified_words
from support import specified_floats as page
from support.specified_words import NUMBERS, STREAMS

SINGLE = {"exp32": portfloat._EXP_FLOAT, "log1p32": portfloat._LOG1P_OVER}
DOUBLE = {
    "log": portfloat._LOG,
    "exp": portfloat.EXP,
    "stirling": portfloat.STIRLING,
    "deviance": portfloat.DEVIANCE,
    "stirling_table": portfloat._STIRLING_TABLE,
    "gamma": gamma._SERIES,
}
PAIRS = normal._CENTRE, normal._NEAR, normal._FAR
DOUBLE |= {f"normal_{name}": row for name, row in zip("abcdef", [row for pair in PAIRS for row in pair], strict=True)}


def test_the_page_lists_every_stream():
    assert {stream.name: int(stream) for stream in Stream} == STREAMS


def test_the_page_has_every_coefficient():
    assert set(NUMBERS) == {*SINGLE, *DOUBLE}
    for name, numbers in SINGLE.items():
        np.testing.assert_array_equal(np.array(NUMBERS[name], "float32"), np.array(numbers, "float32"), err_msg=name)
    for name, numbers in DOUBLE.items():
        np.testing.assert_array_equal(NUMBERS[name], numbers, err_msg=name)


def about(*values):
    """`values` in float64, with many numbers of every size, positive and negative."""
    random = np.random.default_rng(11)
    wide = random.choice([-1.0, 1.0], 3000) * 2.0 ** random.uniform(-60, 9.3, 3000)
    return np.concatenate([values, wide])


@pytest.mark.parametrize(
    "name, inputs",
    [
        ("exp", about(-708.0, -708.1, 709.0, 709.1, 0.0, 0.34657359027997264, -np.inf)),
        ("log", np.abs(about(1.0, 2.0**-1022, 1e300, 0.7071067811865475, 0.7071067811865476))),
        ("log1p", np.clip(about(0.0, -0.5, 1.0, 1e17, -0.2928932188134524), 2.0**-53 - 1.0, None)),
        ("stirling_correction", np.floor(np.abs(about(1.0, 15.0, 16.0, 2.0**53))) + 1.0),
        ("log_factorial", np.floor(np.abs(about(0.0, 1.0, 2.0, 15.0, 2.0**52)))),
        ("exp_minus_abs", about(-86.99, 86.98, 87.0, 0.0, -1e30).astype("float32")),
        ("softplus", about(-86.99, 86.98, 87.0, 0.0, -1e30, 1e30).astype("float32")),
    ],
)
def test_functions_of_the_page(name, inputs):
    ours = getattr(page, {"stirling_correction": "stirling", "exp_minus_abs": "exp32"}.get(name, name))
    values = inputs if inputs.dtype == "float32" else inputs.tolist()
    with np.errstate(under="ignore"):
        np.testing.assert_array_equal([ours(x) for x in values], getattr(portfloat, name)(inputs))


def test_the_deviance_of_the_page():
    x = np.floor(np.abs(about(1.0, 10.0))) + 1.0
    mean = x * np.resize([1.0 + 1e-9, 0.9, 0.81, 1.3, 0.5, 3.0], len(x))
    mine = [page.deviance(*each) for each in zip(x.tolist(), mean.tolist(), (x - mean).tolist(), strict=True)]
    np.testing.assert_array_equal(mine, portfloat.deviance(x, mean, x - mean))


def test_the_thresholds_of_the_page():
    p = np.array([1e-12, 1e-3, 0.1, 0.3, np.nextafter(0.5, 0), 0.5])
    for n in (*range(1, 16), *range(16, 241, 16)):
        mine = [specified_counts.thresholds(n, *pair) for pair in zip(p.tolist(), (1 - p).tolist(), strict=True)]
        np.testing.assert_array_equal(np.array(mine, "uint64"), draw.thresholds(n, p, 1 - p))


def test_the_uniforms_of_the_page():
    words = np.random.default_rng(1).integers(0, 2**32, (2, 100), dtype="uint32")
    words[:, :4] = [[0, 0, 2**32 - 1, 2**31], [0, 2**32 - 1, 2**32 - 1, 0]]
    words[0, 4:20] &= 0x800003FF  # far in the tails
    np.testing.assert_array_equal(
        [specified_reals.standard_normal(*pair) for pair in words.T.tolist()], normal.standard_normal(*words)
    )
    bits = portfloat.bits53(*words)
    for mine, name in (("zero", "uniform_from_zero"), ("one", "uniform_to_one"), ("centred", "uniform_centred")):
        made = [getattr(specified_words, mine)(*pair) for pair in words.T.tolist()]
        np.testing.assert_array_equal(made, getattr(portfloat, name)(bits))


def test_the_weights_of_the_page():
    """Of rows, and of the ways between both ends of a redraw process."""
    for states in (1, 2, 3, 1024, 1025, 50_258, 2**18):
        assert specified_states.bits_of_row(states) == categorical_rows.bits_of(states)
    times = np.abs(about(0.0, 1e-17, 0.7, 708.0, 709.0))
    np.testing.assert_array_equal(
        np.transpose([specified_states.chances(t) for t in times.tolist()]), redraw.chances(times)
    )
    ends = (
        np.where(np.arange(len(times)) % 3 == 0, 0.0, times),
        np.where(np.arange(len(times)) % 4 == 0, 0.0, times[::-1]),
    )
    before, after = (redraw.chances(each) for each in ends)
    for equal in (True, False):
        pairs = zip(np.transpose(before).tolist(), np.transpose(after).tolist(), strict=True)
        ways = [specified_states.bridge_thresholds(a, b, 9.0, equal) for a, b in pairs if equal or a[1] + b[1] > 0]
        possible = equal | (before[1] + after[1] > 0)
        wanted = np.stack(redraw.bridge_thresholds(np, before, after, 9.0, equal))[:, possible]
        np.testing.assert_array_equal(np.transpose(ways), wanted)
