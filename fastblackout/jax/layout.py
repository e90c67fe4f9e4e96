"""How a call of traced code is run, and laid out for XLA's foreign function interface (bindings/xla_reader.h)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..backends import select
from ..call.arguments import Argument, Call, ExpectedBirths, Key
from ..call.declared import DECLARED, Declaration
from ..call.elements import Elements, mask_of
from ..call.numbers import Choice, MaxCount, Numbers, PerSample, Probability
from ..call.outputs import Chosen
from ..ops.birth_loss import NO_BIRTHS
from ..reference.birth_loss import CHUNK
from .calls import callback, ffi_call, modules, readable_dtype

KEY = "words"  # the name of the key among the traced arrays
_MOST_EXACT = 1 << 53  # the integers up to here are all float64


class _Inexact(Exception):
    """Of a constant that the kernels cannot be given: it holds integers that float64 does not."""


class Operand(NamedTuple):
    """An argument of a kernel: a constant or, by its name, a traced array of which it takes this shape.

    outside: what stands in its place where a mask is false.
    """

    value: Any = None
    name: str = ""
    shape: tuple[int, ...] = ()
    outside: float | None = None

    def of(self, traced: Mapping[str, Any], mask: Operand | None = None) -> Any:
        value = traced[self.name].reshape(self.shape) if self.name else self.value
        if mask is None or self.outside is None:
            return value
        inside = mask.of(traced)
        if not self.name and value.dtype == np.uint32:  # float64
            return jnp.where(inside[..., None], value, _constant(np.float64(self.outside)))
        return jnp.where(inside, value, jnp.asarray(self.outside, value.dtype))


class Layout(NamedTuple):
    """A call of a kernel, without its traced arrays.

    operands: for each argument of the kernel one, or None where it is left out. names: of the outputs that are asked
    for, in the kernel's order. mask: where elements take part, if there is one. scratch: how many uint32 the kernels of
    a device need.
    """

    kernel: str
    operands: Sequence[Operand | None]
    names: Sequence[str]
    attributes: dict[str, Any]
    mask: Operand | None
    scratch: int

    def call(self, module: str, results: Mapping[str, Any], traced: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs by name, of a module's kernel. results: their shapes and dtypes."""
        given = [each.of(traced, self.mask) for each in self.operands if each is not None]
        made = self._run(module, self.kernel, given, self.attributes, [results[name] for name in self.names])
        outputs = dict(zip(self.names, made, strict=True))
        if self.mask is not None:
            for name, value in self._outside(module, results, traced).items():
                outputs[name] = jnp.where(self.mask.of(traced), outputs[name], value)
        return outputs

    def _run(
        self, module: str, kernel: str, given: Sequence[Any], attributes: Mapping[str, Any], results: Sequence[Any]
    ) -> Sequence[Any]:
        scratch = [] if module == "_cpu" else [jax.ShapeDtypeStruct((self.scratch,), np.uint32)]
        return ffi_call(module, kernel, given, attributes, [*results, *scratch])[: len(results)]

    def _outside(self, module: str, results: Mapping[str, Any], traced: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs of a step where its mask is false: counts stay as they are."""
        counts, *others = [each for each in self.operands if each is not None]
        kept = {name: counts.of(traced) for name in self.names if name in ("x_t", "x_s")}
        if "model_input" in self.names:
            number = [np.int64(0b111), np.int64(1)]
            attributes = {**self.attributes, **dict(zip(("present", "wanted"), number, strict=True))}
            attributes["names"] = " ".join([self.kernel, "center", "scale"])
            given = [counts.of(traced), *(each.of(traced) for each in others[-2:])]
            (kept["model_input"],) = self._run(module, "model_input", given, attributes, [results["model_input"]])
        return kept


def run(
    layout: Layout | None, host: Callable[..., Any], given: dict[str, Any], results: dict[str, Any], ndim: int
) -> dict[str, Any]:
    """The outputs by name. given: the traced arrays. results: the outputs' shapes and dtypes. layout: of the kernel's
    call, if there is one. host, ndim: as `callback` takes them; host gives the outputs by name."""

    def by_callback(given: dict[str, Any]) -> dict[str, Any]:
        return callback(host, given, results, ndim)

    if layout is None or not (known := modules()):
        return by_callback(given)
    by_ffi = {platform: functools.partial(layout.call, module, results) for platform, module in known.items()}
    return jax.lax.platform_dependent(given, **by_ffi, default=by_callback)


def layout_of(name: str, given: Mapping[str, Any], request: Sequence[Any] = (), upstream: str = "") -> Layout | None:
    """How the kernel `name` is called, with all checks but the checks of traced values; None where it cannot be.

    given: arguments and mask by name, those that are left out as None. request: outputs and input_dtype, of an op that
    takes them. upstream: the name of the gradient by the losses, for the kernel of the gradient.
    """
    declared = DECLARED[name]
    traced = {key: value if isinstance(value, jax.Array) else None for key, value in given.items()}
    known = {key: value if traced[key] is None else _stand_in(value) for key, value in given.items()}
    values = [_value(argument, known) for argument in declared.arguments]
    call = Call(declared.op, "auto")
    if any(differs(values[at]) for at, differs in declared.numbers):
        declared.arguments[0].canon(call, values[0])
        for argument, value in zip(declared.arguments, values, strict=True):
            if isinstance(argument, Numbers):
                argument.read(call, value)
        _mask(call, known.get("mask"), traced.get("mask"))
        return None
    declared.read(call, values)
    fields = call.record
    mask = _mask(call, known.get("mask"), traced.get("mask"))
    kernel = f"{name}_backward" if upstream else name
    names, wanted = _outputs(DECLARED[kernel], call, request)
    copied = any(getattr(each, "came_as", "") for each in fields.values())
    if select.select_host(declared.ranked_as, "auto") != "cpu" or 0 in call.first.shape or copied:
        return None
    try:
        operands = list(_operands(declared, call, fields, traced))
    except _Inexact:
        return None
    if upstream:
        operands.append(Operand(name=upstream, shape=(-1,)))
    numbers = {
        "rank": len(call.first.shape),
        "present": sum(1 << at for at, each in enumerate(operands) if each),
        "wanted": wanted,
        "max_count": fields.get("max_count", 0),
        "choice": fields.get("stochastic", False),
        "threads": select.threads(),
        "isa": select.isa(),
    }
    numbered = [declared.op, *(each.names[0] for each in declared.arguments if isinstance(each, PerSample))]
    attributes = {key: np.int64(value) for key, value in numbers.items()} | {"names": " ".join(numbered)}
    return Layout(kernel, operands, names, attributes, mask, _scratch(call.first.shape))


def _scratch(shape: Sequence[int]) -> int:
    """For at most eight numbers of a sample, and the sums of a loss (csrc/bindings/xla_device.h)."""
    samples = shape[0] if shape else 1
    return samples * (16 + -(-math.prod(shape[1:]) // CHUNK))


def _outputs(declared: Declaration, call: Call, request: Sequence[Any]) -> tuple[Sequence[str], int]:
    """The names of the outputs that are asked for, and a bit for each of all that is."""
    known, outputs = list(declared.outputs.names), declared.outputs
    if not isinstance(outputs, Chosen):
        return known, (1 << len(known)) - 1
    asked = outputs.wanted(call, *request)[0] + [outputs.count]
    known += [outputs.count] if outputs.count else []
    return [name for name in known if name in asked], sum(1 << at for at, name in enumerate(known) if name in asked)


def _mask(call: Call, mask: Any, traced: Any) -> Operand | None:
    if mask is None:
        return None
    whole = mask_of(call.op, mask, call.first, call.first_name)
    return _aligned("mask", whole.ndim, traced) if traced is not None else Operand(_constant(whole))


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


def _operands(
    declared: Declaration, call: Call, fields: Mapping[str, Any], traced: Mapping[str, Any]
) -> Iterator[Operand | None]:
    """The operands of the kernel, in its order. traced: the traced arrays, None for the other arguments."""
    for argument in declared.arguments:
        name = argument.names[0]
        if isinstance(argument, Key):
            yield Operand(name=KEY, shape=(6,))
        elif isinstance(argument, (Probability, PerSample)):
            if traced[name] is not None:
                yield Operand(name=name, shape=(-1,))
                yield from (None for _ in argument.fields[1:])
            else:
                for number in (fields[field] for field in argument.fields):
                    yield None if number is None else Operand(_constant(number))
        elif not isinstance(argument, (MaxCount, Choice)):
            for field, given in zip(argument.fields, _given_names(argument), strict=True):
                outside = NO_BIRTHS if field == "logits" else 0.0
                if fields[field] is None:
                    yield None
                elif traced[given] is not None:
                    yield _aligned(given, len(call.first.shape), traced[given], outside)
                else:
                    yield Operand(_constant(fields[field].numpy()), outside=outside)


def _aligned(name: str, rank: int, array: Any, outside: float | None = None) -> Operand:
    """An operand that broadcasts to arrays of this rank."""
    return Operand(name=name, shape=(1,) * (rank - array.ndim) + array.shape, outside=outside)


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
            raise _Inexact
        once = once.astype(np.float64)
    once = np.array(once, order="C")
    return once[..., None].view(np.uint32) if once.dtype == np.float64 else once
