"""The ops between states on Triton: categorical draws and transition probabilities; see triton.py for what is given.

Matrices: float64 or float32 (K, rows, columns) of any strides; index: int64 (B,), None: K is 1 (one for all samples) or
B. Tables are dense. log_prob and transition_rows take a flag where one is at hand.
"""

from __future__ import annotations

import triton

from .triton_launch import ELEMENT_BLOCK, INTERPRETED, OPTIONS, Tensor, _blocks, _kernels, _layout, _on, _rows, _size

_categorical, _transition = _kernels("categorical"), _kernels("transition")
_PROBS, _LOGITS = 0, 1  # what weights are, in kernels/categorical.py


def categorical(
    state: Tensor, probs: Tensor, index: Tensor | None, key: Tensor, out: Tensor, flag: Tensor
) -> None:  # fmt: skip
    """out ~ row `state` of the sample's matrix of probs, element by element; a row that is none gives the state."""
    state, out = _rows(state, out)
    batch, elements = _size(state)
    if state.numel() == 0:
        return
    block = _blocks(elements, ELEMENT_BLOCK)
    chunks = triton.cdiv(elements, block)
    layout, dims = _layout("categorical", [state, out])
    with _on(state):
        _categorical.categorical_kernel[(batch * chunks,)](
            state, probs, index, out, key, flag, layout, elements, chunks, *probs.shape, *probs.stride(),
            ALIGNED=elements % 16 == 0, DIMS=dims, BLOCK=block, **OPTIONS,
        )  # fmt: skip


def categorical_table(
    state: Tensor, thresholds: Tensor, guide: Tensor, index: Tensor | None, key: Tensor, out: Tensor, flag: Tensor
) -> None:
    """`categorical` by the thresholds (K, R, S) int64 and guide (K, R, 256) uint16 of build_categorical_table."""
    state, out = _rows(state, out)
    batch, elements = _size(state)
    if state.numel() == 0:
        return
    block = _blocks(elements, 128)
    chunks = triton.cdiv(elements, block)
    layout, dims = _layout("categorical", [state, out])
    with _on(state):
        _categorical.categorical_table_kernel[(batch * chunks,)](
            state, thresholds, guide, index, out, key, flag, layout, elements, chunks, *thresholds.shape,
            ALIGNED=elements % 16 == 0, DIMS=dims, BLOCK=block, **OPTIONS,
        )  # fmt: skip


def build_categorical_table(probs: Tensor, thresholds: Tensor, guide: Tensor, flag: Tensor) -> None:
    """thresholds and guide of every row of probs."""
    if probs.numel() == 0:
        return
    lines = probs.shape[0] * probs.shape[1]
    together, width = (_blocks(lines, 32), 256) if INTERPRETED else (32, 8)
    with _on(probs):
        _categorical.build_table_kernel[(triton.cdiv(lines, together),)](
            probs, thresholds, guide, flag, *probs.shape, *probs.stride(), LINES=together, WIDTH=width, **OPTIONS
        )


def categorical_bridge(
    x_t: Tensor, x_0: Tensor | None, weights: Tensor | None, is_logits: bool, before: Tensor, after: Tensor,
    index: Tensor | None, key: Tensor, x_s: Tensor, flag: Tensor,
) -> None:  # fmt: skip
    """x_s ~ before[x_0, .] after[., x_t], x_0 drawn first where it is None: from weights (B, ..., S)."""
    x_t, x_0, x_s = _rows(x_t, x_0, x_s)
    batch, elements = _size(x_t)
    if x_t.numel() == 0:
        return
    first = None if weights is None else weights.select(-1, 0).view(x_t.shape)  # of every element's classes
    class_step = 1 if weights is None else weights.stride(-1)
    block = _blocks(elements, ELEMENT_BLOCK)
    chunks = triton.cdiv(elements, block)
    layout, dims = _layout("categorical_bridge", [x_t, x_0, first, x_s])
    with _on(x_t):
        _categorical.categorical_bridge_kernel[(batch * chunks,)](
            x_t, x_0, first, x_s, before, after, index, key, flag, layout, class_step, elements, chunks,
            before.shape[0], after.shape[0], before.shape[1], *before.stride(), *after.stride(),
            KIND=_LOGITS if is_logits else _PROBS, ALIGNED=elements % 16 == 0, DIMS=dims, BLOCK=block, **OPTIONS,
        )  # fmt: skip


def transition_rows(p: Tensor, q: Tensor, out: Tensor, flag: Tensor | None = None) -> None:
    """out[b, n, k] = Pr(Binomial(n, p_b) = k), float64 (B, S, S)."""
    if out.numel() == 0:
        return
    states = out.shape[1]
    together, width = (_blocks(states, 32), 64) if INTERPRETED else (32, 8)
    chunks = triton.cdiv(states, together)
    with _on(out):
        _transition.transition_rows_kernel[(out.shape[0] * chunks,)](
            p,
            q,
            out,
            flag,
            states,
            chunks,
            p.stride(0),
            q.stride(0),
            *out.stride(),
            ROWS=together,
            WIDTH=width,
            **OPTIONS,
        )


def thin_log_prob(
    x_t: Tensor, x_0: Tensor, p: Tensor, q: Tensor, out: Tensor, flag: Tensor | None = None
) -> None:  # fmt: skip
    """log Binomial(x_0, p) at x_t, float64; p, q: float64 (B,), or of the shape of x_t."""
    _log_prob("thin_log_prob", x_t, x_0, None, p, q, out, flag)


def bridge_log_prob(
    x_s: Tensor, x_t: Tensor, x_0: Tensor, p: Tensor, q: Tensor, out: Tensor, flag: Tensor | None = None
) -> None:
    """log Binomial(x_0 - x_t, p) at x_s - x_t, float64; p, q: float64 (B,), or of the shape of x_s."""
    _log_prob("bridge_log_prob", x_s, x_t, x_0, p, q, out, flag)


def _log_prob(
    op: str, x: Tensor, a: Tensor, b: Tensor | None, p: Tensor, q: Tensor, out: Tensor, flag: Tensor | None
) -> None:
    x, a, b, p, q, out = _rows(x, a, b, p, q, out)
    by_sample = p.dim() == 1
    batch, elements = _size(x)
    if x.numel() == 0:
        return
    pair = [None, None] if by_sample else [p, q]
    block = _blocks(elements, ELEMENT_BLOCK)
    chunks = triton.cdiv(elements, block)
    layout, dims = _layout(op, [x, a, b, *pair, out])
    with _on(x):
        _transition.log_prob_kernel[(batch * chunks,)](
            x, a, b, p, q, out, flag, layout, elements, chunks, p.stride(0), q.stride(0),
            BY_SAMPLE=by_sample, ALIGNED=elements % 16 == 0, DIMS=dims, BLOCK=block, **OPTIONS,
        )  # fmt: skip
