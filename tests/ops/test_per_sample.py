"""Per-sample arguments: every form of the same numbers gives the same bits, on the direct path and on torch's."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.call.declared import DECLARED
from fastblackout.call.numbers import on_host, pair_on_host
from fastblackout.call.states import index_on_host
from support.arrays import DLPackOnly, Through, bits
from support.op_table import OPS
from support.right_calls import calls

RNG = fb.Philox(seed=7)
SHAPE = (2, 3, 4, 5)
X = np.random.default_rng(0).integers(0, 200, SHAPE, dtype=np.uint8)
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


def _everything(library: Any, value: Any, samples: int = 2) -> dict[str, Callable[[], Any]]:
    """Every argument of every op that is one a sample, given `value`, and a probability as a pair, too."""
    found: dict[str, Callable[[], Any]] = {}
    for op, (call, right) in calls(library, (samples, *SHAPE[1:])).items():
        for argument in DECLARED[op].arguments if op in OPS else ():
            name, kind = argument.names[0], type(argument).__name__
            if kind in ("PerSample", "Probability"):
                found[f"{op} {name}"] = lambda f=call, given=right | {name: value}: _one(f(**given))
            if kind == "Probability":
                found[f"{op} {name} pair"] = lambda f=call, given=right, name=name: _one(
                    f(**given | {name: fb.Prob(value, _complement(value))})
                )
    return found


def _one(made: Any) -> Any:
    """Of what an op made, the one that is there."""
    return next(part for part in made if part is not None) if isinstance(made, tuple) else made


def _complement(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_complement(each) for each in value]
    return DLPackOnly(1 - value.array) if isinstance(value, DLPackOnly) else 1 - value


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", ["numpy", "tensors", "traced"])
def test_forms_of_one_number_a_sample(form: str, path: str) -> None:
    library = np.asarray if path == "numpy" else torch.from_numpy
    wanted = _everything(np.asarray, np.array(NUMBERS))
    for name, call in _everything(library, FORMS[form]).items():
        if path == "traced":
            with Through():
                made = call()
        else:
            made = call()
        assert bits(made) == bits(wanted[name]()), name


@pytest.mark.parametrize("values", [[True, False], [1j, 0.5]], ids=["bool", "complex"])
@pytest.mark.parametrize("path", ["numpy", "tensors", "traced"])
def test_bools_and_complex_numbers_are_no_numbers(values: Any, path: str) -> None:
    """torch converts a complex tensor to a real one by dropping the imaginary part."""
    library = np.asarray if path == "numpy" else torch.from_numpy
    for value in (torch.tensor(values), np.array(values), torch.tensor(values[0])):
        for name, call in _everything(library, value).items():
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
    found = set()
    for value in (wrong, np.full(samples, wrong), np.float64([0.5, wrong])[:samples]):
        for name, call in _everything(np.asarray, value, samples).items():
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


def unaligned(values: Any, dtype: str) -> np.ndarray:
    """An array that begins one byte after where its dtype wants it."""
    given = np.array(values, dtype)
    array = np.ndarray(given.shape, dtype, np.empty(given.nbytes + 1, np.uint8), 1)
    array[...] = given
    return array


def test_no_kernel_reads_at_an_address_that_a_number_may_not_have() -> None:
    """Some processors end the program there; the sanitizers say where."""
    p, weight = unaligned(NUMBERS, "float64"), unaligned(NUMBERS, "float32")
    assert not p.flags.aligned
    for array in (p, np.broadcast_to(p[:1], 2)):
        assert all(side.flags.aligned for side in pair_on_host("thin", "alive", fb.Prob(array, 1 - array), 2))
        assert pair_on_host("thin", "alive", array, 2)[0].flags.aligned
    assert on_host("thin", "scale", weight, 2).flags.aligned
    assert index_on_host("transition", unaligned([0, 1], "int64"), 2).flags.aligned
