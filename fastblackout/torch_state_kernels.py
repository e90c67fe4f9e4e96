"""Kernels of the ops on states, on real tensors: the device backends and the host's kernels behind one face.

Matrices (K, R, S); index: int64 (B,) or None; p, q: float64 (B,); key: int64 (3,); all on the device of the states. On
the CPU values are checked, and an op that raises returns nothing; a device backend clamps wrong ones and sets its flag.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .arrays import Array
from .backends import select
from .call import checks
from .call.matrices import index_on_host
from .call.probabilities import as_prob
from .ops import transition
from .ops.categorical import build_on_host, run, run_bridge
from .probability import Prob
from .reference.categorical import GUIDE
from .torch_kernels import _array, _host, _launch


def categorical(backend: str, state: Tensor, probs: Tensor, index: Tensor | None, key: Tensor) -> Tensor:
    op = "categorical"
    chosen = select.select(op, backend, state.device.type, state.numel())
    out = torch.empty_like(state)
    if chosen in select.DEVICE_BACKENDS:
        _launch(chosen, op, op, state, (state, probs, index, key, out))
        return out
    x, philox, size = _host(op, "state", state, key)
    which = index_on_host(op, index, size[0])
    run(chosen, x, Array(probs, op, "probs"), None, which, philox, size, Array(out, op, "out"))
    return out


def categorical_table(
    backend: str, state: Tensor, thresholds: Tensor, guide: Tensor, index: Tensor | None, key: Tensor
) -> Tensor:
    op = "categorical"
    chosen = select.select(op, backend, state.device.type, state.numel())
    out = torch.empty_like(state)
    if chosen in select.DEVICE_BACKENDS:
        _launch(chosen, op, "categorical_table", state, (state, thresholds, guide, index, key, out))
        return out
    x, philox, size = _host(op, "state", state, key)
    table = Array(thresholds, op, "probs"), Array(guide, op, "probs")
    run(chosen, x, *table, index_on_host(op, index, size[0]), philox, size, Array(out, op, "out"))
    return out


def build_categorical_table(backend: str, probs: Tensor) -> tuple[Tensor, Tensor]:
    chosen = select.select("categorical", backend, probs.device.type, probs.numel())
    if chosen not in select.DEVICE_BACKENDS:
        thresholds, guide = build_on_host(chosen, Array(probs, "CategoricalTable", "probs"))
        return torch.from_numpy(thresholds), torch.from_numpy(guide)
    made = (
        torch.empty(probs.shape, dtype=torch.int64, device=probs.device),
        torch.empty((*probs.shape[:2], GUIDE), dtype=torch.uint16, device=probs.device),
    )
    _launch(chosen, "categorical", "build_categorical_table", probs, (probs, *made))
    return made


def categorical_bridge(
    backend: str, x_t: Tensor, x_0: Tensor | None, weights: Tensor | None, is_logits: bool, before: Tensor,
    after: Tensor, index: Tensor | None, key: Tensor,
) -> Tensor:  # fmt: skip
    op = "categorical_bridge"
    chosen = select.select(op, backend, x_t.device.type, x_t.numel())
    out = torch.empty_like(x_t)
    if chosen in select.DEVICE_BACKENDS:
        if weights is not None and x_t.ndim == 0:
            weights = weights[None]  # as x_t becomes one row of one element
        _launch(chosen, op, op, x_t, (x_t, x_0, weights, is_logits, before, after, index, key, out))
        return out
    x, philox, size = _host(op, "x_t", x_t, key)
    pair = Array(before, op, "before"), Array(after, op, "after")
    which = index_on_host(op, index, size[0])
    run_bridge(chosen, x, _array(x_0), _array(weights), is_logits, *pair, which, philox, size, Array(out, op, "out"))
    return out


def transition_rows(backend: str, p: Tensor, q: Tensor, states: int) -> Tensor:
    """(B, S, S)."""
    op = "transition_rows"
    chosen = select.select(op, backend, p.device.type, p.numel() * states * states)
    if chosen in select.DEVICE_BACKENDS:
        out = torch.empty((p.shape[0], states, states), dtype=torch.float64, device=p.device)
        _launch(chosen, op, op, p, (p, q, out))
        return out
    pair = as_prob(Prob(p, q), p.shape[0], op, "prob")
    return torch.from_numpy(transition.rows_on_host(chosen, *pair, states))


def log_prob(backend: str, kind: int, x: Tensor, a: Tensor, b: Tensor | None, p: Tensor, q: Tensor) -> Tensor:
    """Like x, float64: kind 0 is thin_log_prob, 1 bridge_log_prob."""
    op, argument = ("thin_log_prob", "alive") if kind == transition.THIN else ("bridge_log_prob", "step")
    chosen = select.select(op, backend, x.device.type, x.numel())
    out = torch.empty_like(x, dtype=torch.float64)
    if chosen in select.DEVICE_BACKENDS:
        _launch(chosen, op, "log_prob", x, (kind, x, a, b, p, q, out))
        return out
    arrays = [Array(tensor, op, "counts") for tensor in (x, a, b) if tensor is not None]
    size = checks.size_of(op, "counts", arrays[0])
    pair = as_prob(Prob(p, q), size[0], op, argument)
    transition.run(chosen, op, kind, arrays, *pair, size, Array(out, op, "out"))
    return out
