"""The forms in which an argument of an op may come, made of the right values that the calls of the tests have for it.

An argument of one name means the same in all ops, so that every op is given the right values that any of them has under
that name. A form is a function of the other arguments, which makes its value anew for every call.
"""

from __future__ import annotations

import fractions
import importlib.util
import inspect
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse
import torch

import fastblackout as fb
from support.arrays import LAYOUTS, NUMPY_ONLY, DLPackOnly, lay
from support.helpers import KEYS
from support.op_posterior import NAMES
from support.op_table import COUNTS, FLOATS
from support.right_calls import calls

Form = Callable[[dict[str, Any]], Any]
Forms = dict[str, Form]
Call = tuple[Callable[..., Any], dict[str, Any]]

NUMPY_DTYPES = (*COUNTS, "int8", "uint16", "uint32", "uint64", "bool", "float16", "float32", "float64", "complex128")
CHOICES: dict[str, Sequence[Any]] = {
    "backend": ("auto", "cpu", "reference"),
    "rounding": ("stochastic", "nearest"),
    "family": NAMES.split(", "),
    "input_dtype": (*FLOATS, torch.bfloat16, np.float64),
    "dtype": COUNTS,
    "rng": (None, *KEYS[::3]),
}


def bases(library: Any, shape: tuple[int, ...]) -> dict[str, Call]:
    """name: (function, all arguments of its signature), of every op: by the calls of the tests, else by its signature.

    The heads of a law have a call for each law.
    """
    made = calls(library, shape)
    known = {name: value for _, right in reversed(made.values()) for name, value in right.items()}
    for name in fb.ops.__all__:
        op = getattr(fb, name)
        if name not in made and inspect.isfunction(op) and (given := inspect.signature(op).parameters):
            made[name] = op, {each: known[each] for each in given}
    for name, (op, right) in list(made.items()):
        if "family" in right:
            for family in [each for each in CHOICES["family"] if each != right["family"]]:
                made[f"{name} of {family}"] = op, {**right, **_head(family, right)}
    for op, right in made.values():
        for each in inspect.signature(op).parameters.values():
            if each.default is not each.empty:
                right.setdefault(each.name, each.default)
    return made


def _head(family: str, right: dict[str, Any]) -> dict[str, Any]:
    array = right["head"][0]
    return {"family": family, "head": (array,) * (1 if family == "mean" else 2)}


def forms_of(name: str, base: str, known: dict[str, Call], library: Any, shape: tuple[int, ...]) -> Forms:
    """Every form of an argument of one of `known`, the bases."""
    op, right = known[base]
    found: Forms = {"left out": lambda _: LEFT_OUT}
    if name in CHOICES:
        found |= {_label(value): lambda _, value=value: value for value in CHOICES[name]}
    if name == "rng":
        found["a tensor"] = lambda _: library(KEYS[3].tensor().numpy())
    if name == "generator":
        found["a generator"] = lambda _: torch.Generator().manual_seed(3)
    if name == "outputs":
        whole = inspect.signature(op).parameters[name].default
        for number in range(len(whole) + 1):
            found |= {",".join(some): lambda _, some=some: some for some in itertools.combinations(whole, number)}
        found["one string"] = lambda _: whole[0]
    if name == "out":
        found |= _given_outputs(op, right)
    values = [right[name]] + [given[name] for _, given in known.values() if name in given]
    for value in {(type(value), getattr(value, "shape", None)): value for value in reversed(values)}.values():
        for label, form in _forms(value, library, shape):
            found.setdefault(label, form)
    return found


LEFT_OUT = object()


def _label(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _forms(value: Any, library: Any, shape: tuple[int, ...]) -> Iterator[tuple[str, Form]]:
    if isinstance(value, (np.ndarray, torch.Tensor)):
        for label, form in _of_array(np.asarray(value.cpu() if isinstance(value, torch.Tensor) else value), library):
            yield f"{'x'.join(map(str, value.shape))} {label}", form
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _of_number(value, library, shape)
    elif isinstance(value, tuple) and value and isinstance(value[0], (np.ndarray, torch.Tensor)):
        for label, form in _forms(value[0], library, shape):
            yield f"{len(value)} of {label}", lambda given, form=form: tuple(form(given) for _ in value)
            yield f"{label} and others", lambda given, form=form: (form(given), *value[1:])
    elif value is None or isinstance(value, (str, tuple)):
        yield _label(value), lambda _: value


def _of_array(a: Any, library: Any) -> Iterator[tuple[str, Form]]:
    torchs = library is not np.asarray
    for dtype in NUMPY_DTYPES:
        values = np.abs(a) if dtype.startswith(("u", "b")) else a
        yield dtype, lambda _, values=values, dtype=dtype: library(values.astype(dtype))
    for how in LAYOUTS:
        if not (torchs and how in NUMPY_ONLY):
            yield how, lambda _, how=how: library(lay(a, how))
    cuts = {"first": a[:1], "short": a[1:], "none": a[:0], "even": a[::2]} if a.ndim else {}
    cuts |= {"column": a[..., :1]} if a.ndim > 1 else {}
    cuts |= {
        "more": a[None],
        "flat": a.reshape(-1),
        "transpose": a.T,
        "two": np.stack([a, a]),
        "sums": a.sum(-1) if a.ndim else a,
    }
    for label, cut in cuts.items():
        yield label, lambda _, cut=cut: library(np.array(cut))
    if a.size:
        yield "number", lambda _: a.reshape(-1)[0].item()
        yield "0-d", lambda _: library(np.array(a.reshape(-1)[0]))
        yield "scalar", lambda _: a.reshape(-1)[0]
    yield "list", lambda _: a.tolist()
    yield "numpy", lambda _: a.copy()
    yield "torch", lambda _: torch.from_numpy(a.copy())
    yield "DLPack", lambda _: DLPackOnly(a.copy())
    yield "masked", lambda _: np.ma.masked_array(a.copy())
    yield "swapped", lambda _: a.astype(a.dtype.newbyteorder())
    yield "read-only", lambda _: _read_only(a)
    yield "a Prob", lambda _: _pair(a, library)
    if a.ndim == 2:
        for kind in (scipy.sparse.csr_matrix, scipy.sparse.csc_array):
            yield kind.__name__, lambda _, kind=kind: kind(a.astype(np.int32))
        if importlib.util.find_spec("anndata") is not None:
            yield "AnnData", lambda _: _cells(a)
    if torchs:
        yield "bfloat16", lambda _: library(a.astype(np.float32)).to(torch.bfloat16)
        yield "requires_grad", lambda _: library(a.astype(np.float32)).requires_grad_()
        if type(library(a)) is torch.Tensor:
            yield "meta", lambda _: torch.from_numpy(a).to("meta")


def _of_number(value: Any, library: Any, shape: tuple[int, ...]) -> Iterator[tuple[str, Form]]:
    kinds = (float, np.float32, np.float64, np.int64, fractions.Fraction, bool, str)
    for kind in kinds if value == int(value) else kinds[:3]:
        yield f"{kind.__name__}({value!r})", lambda _, kind=kind: kind(value)
    yield repr(value), lambda _: value
    yield f"-{value!r}", lambda _: -value
    samples = shape[:1]
    over = {"samples": samples, "column": (*samples, *(1,) * len(shape[1:])), "0-d": (), "each": shape}
    over |= {"features": (1, *shape[1:]), "one": (1,), "of the first axis": (1, *shape[1:2], *(1,) * len(shape[2:]))}
    over |= {"one too many": (shape[0] + 1,)} if shape else {}
    numbers = (value, value // 2 if isinstance(value, int) else value / 2)
    for label, size in over.items():
        a = np.resize(np.array(numbers), size)
        yield f"{label} of {value!r}", lambda _, a=a: library(a.copy())
        yield f"{label} of {value!r}, float32", lambda _, a=a: library(a.astype(np.float32))
        yield (
            f"{label} of {value!r}, Prob",
            lambda _, a=a: fb.Prob(library(a.astype(np.float64)), library(np.array(1.0 - a))),
        )
    a = np.resize(np.array(numbers), samples)
    yield f"list of {value!r}", lambda _: a.tolist()
    yield f"numpy of {value!r}", lambda _: a.copy()
    yield f"torch of {value!r}", lambda _: torch.from_numpy(a.copy())
    yield f"DLPack of {value!r}", lambda _: DLPackOnly(a.copy())
    yield f"Prob of {value!r}", lambda _: fb.Prob(float(value), 1.0 - value)


def _given_outputs(op: Callable[..., Any], right: dict[str, Any]) -> Forms:
    """Arrays like those that the op returns, all and one of them, and the memory of its first argument."""
    default = inspect.signature(op).parameters.get("outputs")
    try:
        made = op(**(right if default is None else right | {"outputs": default.default}))
    except (TypeError, ValueError):
        return {}

    def poisoned(array: Any) -> Any:
        if array is None:
            return None
        return array + 1 if isinstance(array, torch.Tensor) else np.add(array, 1, dtype=array.dtype)

    first = next(iter(right))
    if not isinstance(made, tuple):
        return {"like the output": lambda _: poisoned(made), "the input": lambda given: given[first]}
    kind, names = type(made), type(made)._fields
    return {
        "like the outputs": lambda _: kind(*map(poisoned, made)),
        "the input": lambda given: kind(**{names[0]: given[first]}),
        **{
            f"like {name}": lambda _, name=name: kind(**{name: poisoned(getattr(made, name))})
            for name in names
            if getattr(made, name) is not None
        },
    }


def _pair(p: Any, library: Any) -> fb.Prob:
    return fb.Prob(library(p.astype(np.float64)), library(np.asarray(1.0 - p)))


def _read_only(a: Any) -> Any:
    made = a.copy()
    made.flags.writeable = False
    return made


def _cells(a: Any) -> Any:
    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anndata.AnnData(X=scipy.sparse.csr_matrix(a.astype(np.float32)))
