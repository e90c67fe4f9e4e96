"""How calls of the ops end, in words: what came back, to the bit, or the error, and what else happened."""

from __future__ import annotations

import hashlib
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.sparse
import torch

import fastblackout as fb
from record.variants import LEFT_OUT, Forms, bases, forms_of
from support.arrays import bits

SHAPES = ((2, 3), (), (2, 0, 2), (3, 2, 4))
FACTOR, PRIME = 0x9E3779B97F4B, 0xFFFFFFFB
MIXTURES = 60  # of every op, shape and library
Ends = dict[str, str]


def digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def described(value: Any, given: Any = None) -> str:
    """Kind, dtype, shape, strides and values. given: what `out` was."""
    if isinstance(value, (tuple, list)):
        outs = given if isinstance(given, tuple) else (None,) * len(value)
        parts = [described(each, out) for each, out in zip(value, outs, strict=True)]
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {described(each)}' for name, each in value.items())}}}"
    same = " given" if value is given and value is not None else ""
    if isinstance(value, torch.Tensor):
        host = getattr(value, "host", value).detach().resolve_conj().resolve_neg()  # of a device that is none
        name, shape, values = bits(host) if host.is_cpu else (host.dtype, host.shape, "")
        facts = _strides(value.shape, value.stride(), 1) + " grad" * value.requires_grad
        return f"{type(value).__name__} {value.device} {name}{list(shape)}{facts} {digest(values)}{same}"
    if isinstance(value, (np.ndarray, np.generic)):
        facts = _strides(value.shape, value.strides, value.itemsize) + " read-only" * (not value.flags.writeable)
        return f"{type(value).__name__} {value.dtype}{list(value.shape)}{facts} {digest(value.tobytes())}{same}"
    if scipy.sparse.issparse(value):
        parts = value.data, value.indices, value.indptr
        return f"{type(value).__name__}{list(value.shape)}({', '.join(map(described, parts))})"
    if type(value).__name__ == "AnnData":
        return f"AnnData({described(value.X)})"
    if type(value).__name__ == "DLPackOnly":
        return f"DLPackOnly({described(value.array)})"
    if isinstance(value, fb.CategoricalTable):
        return f"table({', '.join(map(described, (value.thresholds, value.guide, value.shared)))})"
    if type(value).__module__.startswith("jax"):
        array = np.asarray(value)
        return f"jax {value.dtype} {described(array.view(np.uint16) if value.dtype == 'bfloat16' else array)}"
    plain = value is None or isinstance(value, (bool, int, float, str))
    return f"{type(value).__name__} {value!r}" if plain else type(value).__name__


def _strides(shape: Any, strides: Any, size: int) -> str:
    """Where they differ from C order, in a dimension that has some."""
    dense = np.empty(tuple(shape), np.uint8).strides
    same = all(n == 1 or s == d * size for n, s, d in zip(shape, strides, dense, strict=True))
    return "" if same or 0 in shape else f"/{[s // size for s in strides]}"


def _memory(value: Any) -> Any:
    """What tells whether an argument has been written to."""
    if isinstance(value, (tuple, list)):
        return [_memory(each) for each in value[:9]]
    if not isinstance(value, (np.ndarray, torch.Tensor)):
        return None
    try:
        return bits(getattr(value, "host", value))
    except Exception:  # of a tensor that has no memory of its own
        return None


def plain(text: str) -> str:
    """In one line, without what another run has otherwise: addresses, and folders of files."""
    return re.sub(r"(/[\w.+-]+)+/(?=[\w-]+\.\w+)", "", re.sub(r"\b0x[0-9a-f]+", "0x", " ".join(text.split())))


def text_of(error: Exception) -> str:
    return f"{type(error).__name__}: {plain(str(error))[:600]}"


def ends(op: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """One call: its result or error, warnings, whether a seed was drawn, and which arguments were written to."""
    arguments = {name: value for name, value in arguments.items() if value is not LEFT_OUT}
    torch.default_generator.manual_seed(7)
    state, before = torch.default_generator.get_state(), {name: _memory(value) for name, value in arguments.items()}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            made = op(**arguments)
            text = described(made, arguments.get("out"))
            text += _gradients(made, arguments)
        except Exception as error:
            text = text_of(error)
    text += "".join(sorted({f"; {each.category.__name__}: {each.message}" for each in told}))
    if not torch.equal(state, torch.default_generator.get_state()):
        text += "; drew a seed"
    written = [name for name, value in arguments.items() if _memory(value) != before[name]]
    return text + (f"; wrote {', '.join(written)}" if written else "")


def _gradients(made: Any, arguments: dict[str, Any]) -> str:
    if not (isinstance(made, torch.Tensor) and made.requires_grad):
        return ""
    leaves = [each for value in arguments.values() for each in (value if isinstance(value, tuple) else (value,))]
    leaves = [each for each in leaves if isinstance(each, torch.Tensor) and each.requires_grad]
    if not leaves:
        return ""
    upstream = torch.arange(1.0, made.numel() + 1).reshape(made.shape).to(made)
    return f"; gradients {described(torch.autograd.grad(made, leaves, upstream, allow_unused=True))}"


def copied(value: Any) -> Any:
    """An argument in memory of its own."""
    if isinstance(value, tuple):
        return tuple(map(copied, value))
    if isinstance(value, torch.Tensor):
        return value.clone()
    return value.copy() if isinstance(value, np.ndarray) else value


def own(odd: Any) -> Any:
    """An odd value, or a copy of one that an op could write to: the next call is to find it as it was."""
    writable = type(odd) is np.ndarray or (type(odd) is torch.Tensor and odd.dtype in (torch.uint8, torch.int64))
    return copied(odd) if writable else odd


def arguments_of(right: dict[str, Any], case: dict[str, str], forms: dict[str, Forms]) -> dict[str, Any]:
    made = {name: copied(value) for name, value in right.items()}
    for name, label in case.items():
        made[name] = forms[name][label](made)
    return made


def mixed(rights: dict[str, list[str]], number: int) -> Iterator[dict[str, str]]:
    """Cases in which about half of the arguments have one of their right forms, and the others their value.

    Which, a hash says of each form by itself: one that comes or goes changes few of the cases.
    """
    hashes = {name: [(zlib.crc32(f"{name} {form}".encode()), form) for form in some] for name, some in rights.items()}
    for n in range(1, number + 1):
        lowest = {
            name: min((hash_ * n * 0x9E3779B97F4B % PRIME, form) for hash_, form in some)
            for name, some in hashes.items()
        }
        yield {name: form for name, (hash_, form) in lowest.items() if hash_ % 2}


def library_calls(
    library: Any, shapes: Any, odd: dict[str, Any], only: str, every: int = 1
) -> Iterator[tuple[str, Ends]]:
    """Of every op: every form and every odd value of one argument, then mixtures of the forms that were right.

    every: of the forms one in so many is taken.
    """
    for shape in shapes:
        known = bases(library, shape)
        for base, (op, right) in known.items():
            if only not in base:
                continue
            forms = {name: forms_of(name, base, known, library, shape) for name in right}
            for name, some in forms.items():
                forms[name] = {form: some[form] for form in some if zlib.crc32(form.encode()) % every == 0}
            found = all_forms(op, right, forms, MIXTURES // every)
            for name in right if shape == SHAPES[0] and odd else ():
                found |= {
                    f"{name}: odd {label}": ends(op, right | {name: own(value)})
                    for label, value in odd.items()
                    if name != "device"
                }
            yield f"{base} {shape}", found


def all_forms(op: Any, right: dict[str, Any], forms: dict[str, Forms], number: int) -> Ends:
    """How the calls end in which one argument has another form, and `number` of the calls in which several have."""

    def run(case: dict[str, str]) -> str:
        return ends(op, arguments_of(right, case, forms))

    one = {(name, form): run({name: form}) for name, some in forms.items() for form in some}
    rights = {name: [form for form in some if not failed(one[name, form])] for name, some in forms.items()}
    found = {"": run({})} | {f"{name}: {form}": end for (name, form), end in one.items()}
    cases = mixed({name: some for name, some in rights.items() if some}, number)
    return found | {" | ".join(map(": ".join, case.items())): run(case) for case in cases}


def failed(end: str) -> bool:
    return bool(re.match(r"\w+(Error|Exception): ", end))
