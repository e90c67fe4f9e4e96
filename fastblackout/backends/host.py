"""The host's two backends, the C++ kernels and their reference twins, on the record of a checked call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    outputs: Mapping[str, Any],
    size: tuple[int, int],
) -> None:
    """The C++ kernel `name`, or its twin by keywords; writes the outputs, by name, None where one is not asked for.

    backend: "cpu" or "reference". fields: the record of the call: arrays, numbers of samples as NumPy (samples,), other
    numbers, None for what is left out, the key as a fb.Philox. Outputs are arrays, or NumPy (samples,). size: samples,
    and elements of one.
    """
    if backend != "cpu":
        assert twin is not None
        _run_twin(twin, fields, outputs)
        return
    values: list[Any] = []  # as csrc/bindings/record_reader.h reads them
    for field in (*fields.values(), *outputs.values()):
        for value in field if type(field) is tuple else (field,):
            if type(value) is Array:
                value = value.described() if value.is_tensor else value.value
            elif isinstance(value, Philox):
                drawn = type(value) is Philox
                value = value.seed if drawn else undrawn(value) or value.seed, value.first_sample, value.call
            values.append(value)
    setting = select.wanted.get()
    threads = setting.threads or select.default_threads()()
    getattr(select.cpu_module(name), name)(size, threads, setting.isa, *values)


@default_floats
def _run_twin(twin: Callable[..., Any], fields: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    results = twin(**{name: _readable(value) for name, value in fields.items()}, **_asked(outputs))
    for array, result in zip(outputs.values(), results if isinstance(results, tuple) else (results,), strict=True):
        if isinstance(array, Array):
            store(result, array)
        elif array is not None:
            array[...] = result


def _readable(value: Any) -> Any:
    """A field as a twin reads it."""
    if type(value) is tuple:
        return tuple(map(_readable, value))
    return value.numpy() if isinstance(value, Array) else value


def _asked(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a twin with outputs to choose from is told of them: their names, and the dtype of the model input."""
    if "model_input" not in outputs:
        return {}
    model_input = outputs["model_input"]
    names = {name for name, array in outputs.items() if array is not None}
    return {"outputs": names, "input_dtype": model_input.dtype if model_input else "float32"}
