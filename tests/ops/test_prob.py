"""fb.Prob, and the pairs that kernels read: what is accepted, what comes out, and the errors."""

import numpy as np
import pytest
import torch

from fastblackout.call.numbers import pair_on_host
from fastblackout.probability import Prob


@pytest.mark.parametrize(
    "value", [0.25, np.float64(0.25), np.array(0.25), np.full(3, 0.25), torch.tensor(0.25, dtype=torch.float64)]
)
def test_p_alone(value):
    p, q = pair_on_host("thin", "alive", value, 3)
    for array, expected in ((p, 0.25), (q, 0.75)):
        assert array.dtype == np.float64 and array.shape == (3,)
        assert array.strides == ((0,) if np.ndim(value) == 0 else (8,))  # one number for all lies in memory once
        assert (array == expected).all()


@pytest.mark.parametrize("library", [np.asarray, lambda a: torch.tensor(a, dtype=torch.float64)])
def test_pair_keeps_the_small_side(library):
    p, q = pair_on_host("thin", "alive", Prob(library([1.0, 1e-300]), library([1e-20, 1.0])), 2)
    assert p.tolist() == [1.0, 1e-300] and q.tolist() == [1e-20, 1.0]


def test_pair_of_scalars_strided_input_and_ends():
    p, q = pair_on_host("thin", "alive", Prob(1.0, 0.0), 2)
    assert p.tolist() == [1.0, 1.0] and q.tolist() == [0.0, 0.0]
    p, q = pair_on_host("thin", "alive", np.linspace(0, 1, 9)[::2], 5)
    assert p.flags.c_contiguous and p.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert pair_on_host("thin", "alive", 1, 1)[1].tolist() == [0.0]
    assert pair_on_host("thin", "alive", 0.5, 0)[0].shape == (0,)


def test_right_form_is_not_copied():
    p = np.full(4, 0.5)
    assert pair_on_host("thin", "alive", p, 4)[0] is p


@pytest.mark.parametrize("value", [np.float32(0.1), np.full(2, 0.1, np.float32), torch.full((2,), 0.1)])
def test_other_widths_are_taken_exactly(value):
    """p as it is in float32, q = 1 - p in float64."""
    p, q = pair_on_host("thin", "alive", value, 2)
    assert p.tolist() == [float(np.float32(0.1))] * 2 and (q == 1.0 - p).all() and p.dtype == q.dtype == np.float64


@pytest.mark.parametrize("value", [True, "0.5", None, 0.5j])
def test_other_types(value):
    with pytest.raises(TypeError, match="thin: alive: must be a fb.Prob, a number or an array or list .*, got "):
        pair_on_host("thin", "alive", value, 2)


@pytest.mark.parametrize("bad", [-1e-300, np.nextafter(1.0, 2), float("nan"), float("inf")])
@pytest.mark.parametrize("form", ["scalar", "array", "pair"])
def test_out_of_range(bad, form):
    value = {"scalar": bad, "array": np.array([0.5, bad]), "pair": Prob(0.5, np.array([0.5, bad]))}[form]
    argument = r"alive\.q" if form == "pair" else "alive"
    with pytest.raises(ValueError, match=rf"thin: {argument}: must be in \[0, 1\], got {float(bad)!r}"):
        pair_on_host("thin", "alive", value, 2)


def test_shape_and_sum():
    with pytest.raises(ValueError, match=r"bridge_step: step: shape must be \(\), \(3,\) .*, got \(2,\)"):
        pair_on_host("bridge_step", "step", np.full(2, 0.5), 3)
    with pytest.raises(ValueError, match=r"bridge_step: step: p \+ q must be 1 within 1e-9, got p = 0.5 and q = 0.6"):
        pair_on_host("bridge_step", "step", Prob(0.5, 0.6), 3)
    pair_on_host("bridge_step", "step", Prob(0.5, 0.5 + 0.9e-9), 3)
