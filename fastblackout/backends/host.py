"""The host's two backends, the C++ kernels and their reference twins, on the record of a checked call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..arrays import Array, store
from ..philox import Philox, undrawn
from . import select
from .float_mode import default_floats


def run(
    name: str,
    twin: Callable[..., Any] | None,
    backend: str,
    fields: Mapping[str, Any],
    made: Mapping[str, Any],
    size: tuple[int, int],
) -> None:
    """The C++ kernel `name`, or its twin by keywords; writes `made`: outputs by name, None where one is not asked for.

    backend: "cpu" or "reference". fields: the record of the call: arrays, numbers of samples as NumPy (samples,), other
    numbers, None for what is left out, the key as a fb.Philox. Outputs are arrays, or NumPy (samples,). size: samples,
    and elements of one.
    """
    if backend == "cpu":
        kernel = getattr(select.cpu_module(name), name)
        kernel(size, select.threads(), select.isa(), *_described((*fields.values(), *made.values())))
        return
    assert twin is not None
    _run_twin(twin, fields, made)


@default_floats
def _run_twin(twin: Callable[..., Any], fields: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    results = twin(**{name: _readable(value) for name, value in fields.items()}, **_asked(made))
    for array, result in zip(made.values(), results if isinstance(results, tuple) else (results,), strict=True):
        if isinstance(array, Array):
            store(result, array)
        elif array is not None:
            array[...] = result


def flat(fields: Iterable[Any]) -> list[Any]:
    """The fields of a record in one list, with the parts of a tuple one by one: the order of the compiled kernels and
    of torch's schemas."""
    made: list[Any] = []
    for field in fields:
        if type(field) is tuple:
            made += field
        else:
            made.append(field)
    return made


def _described(values: Iterable[Any]) -> list[Any]:
    """What csrc/bindings/record_reader.h reads of arguments and outputs."""
    given: list[Any] = []
    for value in flat(values):
        if type(value) is Array:
            value = value.described() if value.is_tensor else value.value
        elif isinstance(value, Philox):
            value = undrawn(value) or value.seed, value.first_sample, value.call
        given.append(value)
    return given


def _readable(value: Any) -> Any:
    """A field as a twin reads it."""
    if type(value) is tuple:
        return tuple(map(_readable, value))
    return value.numpy() if isinstance(value, Array) else value


def _asked(made: Mapping[str, Any]) -> dict[str, Any]:
    """What a twin with outputs to choose from is told of them: their names, and the dtype of the model input."""
    if "model_input" not in made:
        return {}
    model_input = made["model_input"]
    names = {name for name, array in made.items() if array is not None}
    return {"outputs": names, "input_dtype": model_input.dtype if model_input else "float32"}
