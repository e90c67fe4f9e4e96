"""Calls of the CPU's kernels by XLA's foreign function interface (FFI): what JAX compiles calls them without Python.

csrc/bindings/xla.cpp has the functions that XLA calls, and xla_reader.h says how arguments are laid out.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..backends import available, select
from ..call.arguments import Argument, Elements, ExpectedBirths
from ..call.call import Call
from ..call.declared import DECLARED
from ..call.number_arguments import Choice, Key, MaxCount, PerSample, Probability, takes_spread
from ..call.operation import Operation
from ..call.outputs import Chosen
from .callback import readable_dtype

_MOST_EXACT = 1 << 53  # the integers up to here are all float64

switched_off = ""  # for tests: why calls are not to go this way


@functools.cache
def _refused() -> str:
    """Registers the kernels with JAX; why it cannot be, or ""."""
    cpu = available.load("_cpu")
    if isinstance(cpu, str):
        return cpu
    try:
        for op, handler in cpu.xla_handlers().items():
            _interface().register_ffi_target(f"fastblackout_{op}", handler, platform="cpu")
    except Exception as error:  # of another version of the interface, in whatever this version of JAX raises
        return f"JAX refuses the kernels: {' '.join(str(error).split())}"
    return ""


def _interface() -> Any:
    """Of JAX, for this interface: it has moved with JAX 0.5."""
    try:
        return importlib.import_module("jax.ffi")
    except ImportError:
        return importlib.import_module("jax.extend.ffi")


def described() -> str:
    """Which way calls go, for `fastblackout info`."""
    why = why_not()
    on_cpu = f"through jax.pure_callback: {why}" if why else "by XLA's FFI; from a GPU through jax.pure_callback"
    return f"JAX {jax.__version__} calls the cpu kernels {on_cpu}"


def why_not() -> str:
    """Why calls go through jax.pure_callback instead; "" where they do not."""
    return switched_off or _refused()


class Layout(NamedTuple):
    """A call of an op, without its key and its traced arrays.

    operands: for each argument of the kernel None, a constant, or a traced array by (its name, the shape it takes);
    (KEY,) stands for the key. shape: of the arrays. names: of the outputs that are asked for, in the kernel's order.
    """

    op: str
    operands: tuple[Any, ...]
    shape: tuple[int, ...]
    names: tuple[str, ...]
    attributes: dict[str, Any]

    def call(self, traced: Mapping[str, Any], results: Sequence[Any]) -> list[Any]:
        """The outputs. results: their shapes and dtypes, in the kernel's order."""
        given = [each for each in self.operands if each is not None]
        operands = [traced[each[0]].reshape(each[1]) if isinstance(each, tuple) else each for each in given]
        call = _interface().ffi_call(f"fastblackout_{self.op}", tuple(results), vmap_method="expand_dims")
        ranks = {"rank": np.int64(len(self.shape)), "result_rank": np.int64(len(results[0].shape))}
        return list(call(*operands, **self.attributes, **ranks))


KEY = "words"  # the name of the key among the traced arrays


def layout_of(name: str, given: Mapping[str, Any], request: Sequence[Any] = (), upstream: str = "") -> Layout | None:
    """How the kernel `name` is called, with all checks but those of traced values; None where it cannot be.

    given: arguments by name, those that are left out as None. request: outputs and input_dtype, of an op that takes
    them. upstream: the name of the gradient by the losses, for the kernel of the gradient.
    """
    declared = DECLARED[name]
    traced = {key for key, value in given.items() if isinstance(value, jax.Array)}
    known = {key: _stand_in(value) if key in traced else value for key, value in given.items()}
    values = [_value(argument, known) for argument in declared.arguments]
    if any(map(takes_spread, declared.arguments, values)):
        return None
    call = Call(declared.op, "auto")
    fields = declared.checked(call, values)
    chosen = select.select_host(declared.ranked_as, "auto")
    arrays = [each for each in fields.values() if hasattr(each, "came_as")]
    if why_not() or chosen != "cpu" or 0 in call.first.shape or any(each.came_as for each in arrays):
        return None
    kernel = f"{name}_backward" if upstream else name
    names, made = DECLARED[kernel].outputs.names, -1
    if isinstance(declared.outputs, Chosen):
        asked = declared.outputs.wanted(call, *request)[0]
        made = sum(1 << at for at, each in enumerate(names) if each in asked)
        names = tuple(each for each in names if each in asked)
        if declared.outputs.count:
            names, made = (*names, declared.outputs.count), made | 1 << len(declared.outputs.names)
    operands = list(_operands(declared, call, fields, {key: given[key] if key in traced else None for key in given}))
    if any(each is NotImplemented for each in operands):
        return None
    if upstream:
        operands.append((upstream, (-1,)))
    attributes = {
        "given": sum(1 << at for at, each in enumerate(operands) if each is not None),
        "made": made,
        "max_count": fields.get("max_count", 0),
        "choice": int(fields.get("rounding", False)),
        "threads": select.threads(),
        "isa": select.isa(),
    }
    numbers = {key: np.int64(value) for key, value in attributes.items()}
    said = " ".join([declared.op, *map(_said, (each for each in declared.arguments if isinstance(each, PerSample)))])
    return Layout(kernel, tuple(operands), call.first.shape, names, {**numbers, "said": said})


def _value(argument: Argument, given: Mapping[str, Any]) -> Any:
    """The value of an argument, of values by name."""
    if isinstance(argument, Key):
        return None, None
    if isinstance(argument, (Elements, ExpectedBirths)):
        return tuple(given[name] for name in _names(argument))
    return given[argument.names[0]]


def _names(argument: Argument) -> Sequence[str]:
    return tuple(argument.dtypes) if isinstance(argument, Elements) else argument.names


def _stand_in(value: Any) -> Any:
    """A NumPy array for a traced one in checks: of its shape and dtype, full of a number that is right anywhere."""
    return np.broadcast_to(np.ones((), readable_dtype(value.dtype)), value.shape)


def _said(number: PerSample) -> str:
    bound = "" if number.low == -np.inf else ">0" if number.open_low else ">=0"
    return number.names[0] + bound


def _operands(declared: Operation, call: Call, fields: Mapping[str, Any], traced: Mapping[str, Any]) -> Iterator[Any]:
    """Those of the kernel, in its order. traced: the traced arrays, None for the other arguments."""
    for argument in declared.arguments:
        name = argument.names[0]
        if isinstance(argument, Key):
            yield KEY, (4,)
        elif isinstance(argument, Probability):
            if traced[name] is not None:
                yield from ((name, (-1,)), None)
            else:
                yield from (None if side is None else _constant(side) for side in fields[name])
        elif isinstance(argument, PerSample):
            yield (name, (-1,)) if traced[name] is not None else _constant(fields[name])
        elif not isinstance(argument, (MaxCount, Choice)):
            rank = len(call.first.shape)
            for field, given in zip(argument.names, _given_names(argument), strict=True):
                value = traced.get(given)
                if value is not None and field != "q":
                    yield given, (1,) * (rank - value.ndim) + value.shape
                else:
                    yield None if fields[field] is None else _constant(fields[field].numpy())


def _given_names(argument: Argument) -> Sequence[str]:
    """By which argument each of its fields is given."""
    if isinstance(argument, Elements) and argument.prob:
        return [argument.prob if field in "pq" else field for field in argument.names]
    return argument.names


def _constant(value: Any) -> Any:
    """An array as the kernels read it; where it repeats itself in a dimension, once."""
    once = value[tuple(slice(None) if stride else slice(0, 1) for stride in value.strides)]
    if once.dtype == np.int64:
        if abs(once).max() > _MOST_EXACT:
            return NotImplemented
        once = once.astype(np.float64)
    once = np.array(once, order="C")
    return once[..., None].view(np.uint32) if once.dtype == np.float64 else once
