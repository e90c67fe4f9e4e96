"""The public ops on states, on tensors that the direct path cannot read: as torch_calls does it."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from . import torch_ops
from . import torch_state_kernels as kernels
from .arrays import COUNTS, Array, adopt, is_traced
from .backends.select import check_name
from .call import checks, matrices
from .ops import transition
from .ops.categorical import PROBS, CategoricalTable, check_classes, pair_of_matrices, prediction_of, spread
from .probability import Prob
from .torch_args import as_constant, key_of, pair_of


def categorical(
    state: Tensor, probs: Any, index: Any, rng: Any, generator: Any, out: Any, backend: str
) -> Tensor:  # fmt: skip
    op = "categorical"
    x = adopt(state, op, "state", COUNTS)
    table = probs if isinstance(probs, CategoricalTable) else None
    if table is None:
        given, shared = matrices.matrices_of(op, "probs", _constant(probs, state), PROBS)
    else:
        given, shared = Array(table.thresholds, op, "probs"), table.shared
    _on_device(op, "probs", given, state)
    matrices.check_index_use(op, index, shared)
    matrices.check_holds(op, "state", x.dtype, given.shape[-1])
    samples, _ = checks.size_of(op, "state", x)
    which = _index(op, index, state, samples)
    matrices.check_samples(op, "probs", given, shared, which is not None, samples)
    key = key_of(op, rng, generator, state, samples)
    into = _out(op, out, x, "state", {"probs": given.value, "index": index, "rng": rng})
    check_name(op, backend)
    if table is None:
        arguments = (state, given.value, which, key)
        draw = (
            torch_ops.categorical(*arguments, backend) if is_traced(state) else kernels.categorical(backend, *arguments)
        )
    else:
        tensors = (state, given.value, table.guide, which, key)
        traced = is_traced(state)
        draw = (
            torch_ops.categorical_table(*tensors, backend) if traced else kernels.categorical_table(backend, *tensors)
        )
    return draw if into is None else into.copy_(draw)


def build_table(probs: Tensor, backend: str) -> tuple[Tensor, Tensor, bool]:
    given, shared = matrices.matrices_of("CategoricalTable", "probs", probs, PROBS)
    check_name("CategoricalTable", backend)
    if is_traced(probs):
        return *torch_ops.build_categorical_table(given.value, backend), shared
    return *kernels.build_categorical_table(backend, given.value), shared


def categorical_bridge(
    x_t: Tensor, x_0: Any, logits: Any, probs: Any, before: Any, after: Any, index: Any, rng: Any, generator: Any,
    out: Any, backend: str,
) -> Tensor:  # fmt: skip
    op = "categorical_bridge"
    x = adopt(x_t, op, "x_t", COUNTS)
    source, weights = prediction_of(op, x, x_0, logits, probs)
    first, second, shared = pair_of_matrices(op, _constant(before, x_t), _constant(after, x_t))
    for name, array in (("before", first), ("after", second)):
        _on_device(op, name, array, x_t)
    matrices.check_index_use(op, index, shared)
    states = first.shape[-1]
    matrices.check_holds(op, "x_t", x.dtype, states)
    check_classes(op, weights, x, states, "probs" if logits is None else "logits")
    samples, _ = checks.size_of(op, "x_t", x)
    which = _index(op, index, x_t, samples)
    first, second = spread(op, first, second, which is not None, samples)
    key = key_of(op, rng, generator, x_t, samples)
    read = {"x_0": x_0, "logits": logits, "probs": probs, "before": before, "after": after, "index": index, "rng": rng}
    into = _out(op, out, x, "x_t", read)
    check_name(op, backend)
    given = (None if array is None else array.value.detach() for array in (source, weights))
    arguments = (x_t, *given, logits is not None, first.value, second.value, which, key)
    if is_traced(x_t):
        drawn = torch_ops.categorical_bridge(*arguments, backend)
    else:
        drawn = kernels.categorical_bridge(backend, *arguments)
    return drawn if into is None else into.copy_(drawn)


def transition_rows(prob: Any, states: int, backend: str) -> Tensor:
    op = "transition_rows"
    parts = tuple(prob) if isinstance(prob, Prob) else (prob,)
    tensors = [part for part in parts if isinstance(part, Tensor)]
    sizes = [tensor.shape[0] for tensor in tensors if tensor.ndim]
    samples = sizes[0] if sizes else 1
    p, q = (part.contiguous() for part in pair_of(op, "prob", prob, tensors[0], samples, backend))
    check_name(op, backend)
    traced = is_traced(tensors[0])
    rows = (
        torch_ops.transition_rows(p, q, states, backend) if traced else kernels.transition_rows(backend, p, q, states)
    )
    return rows if any(tensor.ndim for tensor in tensors) else rows[0]


def log_prob(op: str, kind: int, counts: dict[str, Any], name: str, prob: Any, backend: str) -> Tensor:
    arrays = transition.counts_of(op, counts)
    x = arrays[0].value
    samples, _ = checks.size_of(op, next(iter(counts)), arrays[0])
    p, q = (part.contiguous() for part in pair_of(op, name, prob, x, samples, backend))
    tensors = [array.value for array in arrays]
    check_name(op, backend)
    if is_traced(x):
        call = torch_ops.thin_log_prob if kind == transition.THIN else torch_ops.bridge_log_prob
        return call(*tensors, p, q, backend)
    first, second, *third = tensors
    return kernels.log_prob(backend, kind, first, second, third[0] if third else None, p, q)


def _constant(value: Any, like: Tensor) -> Any:
    """A plain NumPy array where torch traces: a constant of the graph. Others go on, to be refused by name."""
    return as_constant(value, like) if type(value) is np.ndarray and is_traced(like) else value


def _on_device(op: str, name: str, array: Array, like: Tensor) -> None:
    if not array.is_tensor:
        raise TypeError(f"{op}: {name}: must be a torch tensor like the states, got {type(array.value).__name__}")
    if array.value.device != like.device:
        raise ValueError(f"{op}: {name}: must be on the device of the states, {like.device}, got {array.value.device}")


def _index(op: str, index: Any, like: Tensor, samples: int) -> Tensor | None:
    if index is None:
        return None
    index = _constant(index, like)
    if not isinstance(index, Tensor):
        raise TypeError(f"{op}: index: must be a torch tensor like the states, got {type(index).__name__}")
    matrices.check_index(op, index, samples)
    if index.device != like.device:
        raise ValueError(f"{op}: index: must be on the device of the states, {like.device}, got {index.device}")
    return index.contiguous()


def _out(op: str, out: Any, x: Array, name: str, read: dict[str, Any]) -> Tensor | None:
    if out is None or not is_traced(x.value):
        made = checks.out_of(op, out, x, name, read)
        return None if made is None else made.value
    array = adopt(out, op, "out", (x.dtype,))
    checks.same_shape(op, "out", array, "the input", x)
    return array.value
