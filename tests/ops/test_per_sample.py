"""Per-sample arguments: every form of the same numbers gives the same bits, on the direct path and on torch's."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.arrays import DLPackOnly, Through, bits

RNG = fb.Philox(seed=7)
X = np.random.default_rng(0).integers(0, 200, (2, 3, 4, 5), dtype=np.uint8)
LOGITS = np.random.default_rng(1).normal(0, 3, X.shape).astype(np.float32)
NUMBERS = (0.25, 0.75)  # exact in every float dtype
FORMS: dict[str, Any] = {
    "list": list(NUMBERS), "tuple": NUMBERS, "nested list": [[[[0.25]]], [[[0.75]]]],
    "fractions": [Fraction(1, 4), 0.75], "float32": np.float32(NUMBERS),
    "float16, (B, 1, 1, 1)": np.float16(NUMBERS).reshape(2, 1, 1, 1), "big-endian": np.array(NUMBERS, ">f8"),
    "longdouble": np.longdouble(NUMBERS), "tensor": torch.tensor(NUMBERS),
    "bfloat16 tensor, (B, 1, 1, 1)": torch.tensor(NUMBERS).bfloat16().reshape(2, 1, 1, 1),
    "float64 tensor": torch.tensor(NUMBERS, dtype=torch.float64), "DLPack": DLPackOnly(np.array(NUMBERS)),
    "read-only": np.broadcast_to(np.array(NUMBERS), (2,)),
}  # fmt: skip
ONE = {"int": 1, "list": [1, 1], "integers": np.array([1, 1], np.uint16), "bytes": torch.ones(2, dtype=torch.uint8)}


def _everything(x: Any, logits: Any, value: Any) -> dict[str, Any]:
    """Every argument of every op that is one a sample, given `value`."""
    step = {"logits": logits, "rng": RNG}
    return {
        "thin alive": lambda: fb.thin(x, value, rng=RNG).x_t,
        "thin alive pair": lambda: fb.thin(x, fb.Prob(value, _complement(value)), rng=RNG).x_t,
        "thin center": lambda: fb.thin(x, 0.5, rng=RNG, center=value).model_input,
        "thin scale": lambda: fb.thin(x, 0.5, rng=RNG, scale=value).model_input,
        "bridge step": lambda: fb.bridge_step(x, step=value, **step).x_s,
        "bridge attrition": lambda: fb.bridge_step(x, step=0.5, attrition=value, **step).x_s,
        "bridge gain": lambda: fb.bridge_step(x, step=0.5, gain=value, **step).x_s,
        "tau_leap step": lambda: fb.tau_leap_step(x, step=value, **step).x_s,
        "tau_leap center": lambda: fb.tau_leap_step(x, step=0.5, center=value, **step).model_input,
        "birth_loss weight": lambda: fb.birth_loss(logits, x, value),
        "birth_loss gain": lambda: fb.birth_loss(logits, x, 1.0, gain=value),
        "energy_loss weight": lambda: fb.energy_loss(_two(logits), x, x, value),
        "energy_loss offset": lambda: fb.energy_loss(_two(logits), x, x, 1.0, offset=value),
        "posterior_loss weight": lambda: _posterior(logits, x, value),
        "posterior_loss offset": lambda: _posterior(logits, x, 1.0, value),
        "posterior_step step": lambda: _law_step(logits, x, value).x_s,
        "posterior_step offset": lambda: _law_step(logits, x, 0.5, value).x_s,
        "thin_log_prob alive": lambda: fb.thin_log_prob(x, x, value),
        "bridge_log_prob step": lambda: fb.bridge_log_prob(x, x, x, value),
    }


def _posterior(logits: Any, x: Any, weight: Any, offset: Any = 0.0) -> Any:
    return fb.posterior_loss((logits, -logits), x, x // 16, weight, family="beta-binomial", offset=offset)


def _law_step(logits: Any, x: Any, step: Any, offset: Any = 0.0) -> Any:
    return fb.posterior_step(x, (logits, -logits), step, family="beta-binomial", offset=offset, rng=RNG)


def _two(logits: Any) -> Any:
    """Two draws."""
    return torch.stack([logits, -logits]) if isinstance(logits, torch.Tensor) else np.stack([logits, -logits])


def _complement(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_complement(each) for each in value]
    return DLPackOnly(1 - value.array) if isinstance(value, DLPackOnly) else 1 - value


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", ["numpy", "tensors", "traced"])
def test_forms_of_one_number_a_sample(form: str, path: str) -> None:
    x, logits = (X, LOGITS) if path == "numpy" else (torch.from_numpy(X), torch.from_numpy(LOGITS))
    for name, call in _everything(x, logits, FORMS[form]).items():
        wanted = _everything(X, LOGITS, np.array(NUMBERS))[name]()
        if path == "traced":
            with Through():
                made = call()
        else:
            made = call()
        assert bits(made) == bits(wanted), name


@pytest.mark.parametrize("form", ONE)
def test_integers(form: str, backend: str) -> None:
    for name, call in _everything(X, LOGITS, ONE[form]).items():
        if "pair" not in name:
            assert bits(call()) == bits(_everything(X, LOGITS, 1.0)[name]()), name


@pytest.mark.parametrize("library", [np.float32, torch.tensor], ids=["numpy", "torch"])
def test_a_narrow_probability_is_taken_exactly(library: Any, backend: str) -> None:
    given = library([0.1, 0.3])
    p = np.array([float(value) for value in given])
    assert (p != [0.1, 0.3]).all()
    assert bits(fb.thin(X, given, rng=RNG).x_t) == bits(fb.thin(X, fb.Prob(p, 1 - p), rng=RNG).x_t)
    assert bits(fb.transition_rows(given, 9)) == bits(fb.transition_rows(p, 9))


@pytest.mark.parametrize("values", [[True, False], [1j, 0.5]], ids=["bool", "complex"])
@pytest.mark.parametrize("path", ["numpy", "tensors", "traced"])
def test_bools_and_complex_numbers_are_no_numbers(values: Any, path: str) -> None:
    """torch converts a complex tensor to a real one by dropping the imaginary part."""
    x, logits = (X, LOGITS) if path == "numpy" else (torch.from_numpy(X), torch.from_numpy(LOGITS))
    for value in (torch.tensor(values), np.array(values), torch.tensor(values[0])):
        for name, call in _everything(x, logits, value).items():
            if "pair" not in name:  # 1 minus a bool is none
                argument = name.split()[-1]
                with pytest.raises(TypeError, match=f": {argument}: must be real numbers, got dtype"):
                    if path == "traced":
                        with Through():
                            call()
                    else:
                        call()


def _error(call: Any, backend: str) -> str:
    try:
        with fb.use_backend(backend):
            call()
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("wrong", [np.nan, -np.inf, 1e300, -1.0, 2.0])
@pytest.mark.parametrize("samples", [2, 0])
def test_kernels_and_reference_refuse_the_same_plain_numbers(samples: int, wrong: float) -> None:
    """Compiled kernels check them, without NumPy; a single number is wrong even where there are no samples."""
    x, logits, found = X[:samples], LOGITS[:samples], set()
    for value in (wrong, np.full(samples, wrong), np.float64([0.5, wrong])[:samples]):
        for name, call in _everything(x, logits, value).items():
            error = _error(call, "cpu")
            assert error == _error(call, "reference"), name
            found.add(error)
    assert len(found) > 3


def test_a_pair_is_no_list_of_two_numbers() -> None:
    """It is a tuple, and there are two samples."""
    for argument in ("center", "scale"):
        with pytest.raises(TypeError, match=f"^thin: {argument}: must be a number or an array or list .*, got Prob$"):
            fb.thin(X, 0.5, **{argument: fb.Prob(0.25, 0.75)})


def test_rows_of_as_many_probabilities_as_are_given() -> None:
    wanted = fb.transition_rows(np.array([0.25, 0.5, 0.75]), 6)
    for form in (
        [0.25, 0.5, 0.75],
        torch.tensor([0.25, 0.5, 0.75])[:, None],
        np.float16([[[0.25]], [[0.5]], [[0.75]]]),
    ):
        assert bits(fb.transition_rows(form, 6)) == bits(wanted)
    assert fb.transition_rows(np.float16(0.25), 6).shape == (7, 7)


def test_a_zero_keeps_its_sign(backend: str) -> None:
    """What is kept of an earlier call for 0.0 is not given for -0.0, nor the other way round."""
    for scale in (0.0, -0.0, 0.0):
        made = fb.thin(X, 0.5, rng=RNG, scale=scale, center=-1.0).model_input
        assert (np.signbit(made) == np.signbit(scale)).all()
