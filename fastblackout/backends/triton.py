"""The ops on Triton: NVIDIA and AMD GPUs, and the interpreter (TRITON_INTERPRET=1) over CPU tensors.

The leading dimension of every tensor is the sample. Outputs are given; None: not asked for. key: int64[3] on the device
(seed as two's complement, first_sample, call). Per-sample numbers: float64 (B,) for p, q, sigma_p, sigma_q, factor,
weight and coefficient, float32 (B,) for gain, center and scale; p and q expanded from one number (stride 0) build one
table of thresholds instead of B. flag: int32[1], gets bits for wrong values (wrong_values.py). Nothing
synchronises. Launches go to torch's current stream and can be captured in a CUDA graph once the same call has run
before (then kernels are compiled, and layouts that are not C order lie on the device).
Two launches where CUDA C++ takes one: declared counts up to 255, with a scratch of 43 KB a sample (kernels/table.py
says why), and the loss of few large samples (kernels/birth_loss.py does).
"""

from __future__ import annotations

import torch
import triton

from .triton_launch import (
    CHUNK,
    CHUNK_OPTIONS,
    ELEMENT_BLOCK,
    INTERPRETED,
    OPTIONS,
    Tensor,
    _blocks,
    _kernels,
    _layout,
    _on,
    _rows,
    _size,
)
from .triton_states import (
    bridge_log_prob,
    build_categorical_table,
    categorical,
    categorical_bridge,
    categorical_table,
    thin_log_prob,
    transition_rows,
)

__all__ = [
    "INTERPRETED", "birth_loss", "birth_loss_backward", "binomial", "bridge_log_prob", "bridge_step",
    "build_categorical_table", "categorical", "categorical_bridge", "categorical_table", "poisson", "tau_leap_step",
    "thin", "thin_log_prob", "transition_rows",
]  # fmt: skip

MAX_SHARED_COUNT = 255
ROWS_AT_ONCE = 1024  # their tables, 44 MB, stay in the L2 of a large GPU


_table, _thin, _bridge, _tau_leap = (_kernels(name) for name in ("table", "thin", "bridge", "tau_leap"))
_birth_loss, _binomial, _poisson = (_kernels(name) for name in ("birth_loss", "binomial", "poisson"))


def _blocks_and_parts(elements: int, shared: bool) -> tuple[int, int]:
    """Elements of a block, and blocks a program takes one after the other."""
    if shared:
        block = _blocks(elements, 256)
        return block, 1 if INTERPRETED and block >= elements else 4
    return _blocks(elements, ELEMENT_BLOCK), 1


def _step(*tensors: Tensor) -> int:
    """0 where one number serves all samples, else 1 (which needs numbers side by side)."""
    return 0 if tensors[0].shape[0] > 1 and all(t.stride(0) == 0 for t in tensors) else 1


def _bounded(counts: Tensor, max_count: int) -> bool:
    return counts.dtype == torch.uint8 and max_count >= 255


def _dense(tensor: Tensor, step: int) -> Tensor:
    return tensor if step == 0 else tensor.contiguous()


def _tables(pairs: list[tuple[Tensor, Tensor, int]], flag: Tensor, max_count: int) -> tuple[Tensor, int]:
    """(scratch with the thresholds of one or two (p, q, step), row where the second begin)."""
    p, q, step = pairs[0]
    rows = p.shape[0] if any(pair[2] for pair in pairs) else 1
    p_2, q_2, step_2 = pairs[1] if len(pairs) > 1 else (None, None, 0)
    total = rows * len(pairs)
    table = torch.empty(total * _table.WORDS, dtype=torch.int64, device=p.device)
    samples = min(16, triton.next_power_of_2(total)) if INTERPRETED else 1
    _table.table_kernel[(triton.cdiv(total, samples),)](
        p, q, p_2, q_2, table, flag, rows, step, step_2, max_count, SAMPLES=samples, **OPTIONS
    )
    return table, rows


def thin(
    x_0: Tensor, p: Tensor, q: Tensor, key: Tensor, max_count: int, center: Tensor, scale: Tensor,
    x_t: Tensor | None, births: Tensor | None, model_input: Tensor | None, flag: Tensor,
) -> None:  # fmt: skip
    """x_t ~ Binomial(x_0, p), births = x_0 - x_t, model_input = (x_t - center) * scale."""
    x_0, *made = _rows(x_0, x_t, births, model_input)
    batch, elements = _size(x_0)
    if x_0.numel() == 0:
        return
    shared = max_count <= MAX_SHARED_COUNT
    step = _step(p, q)
    p, q = _dense(p, step), _dense(q, step)
    block, parts = _blocks_and_parts(elements, shared)
    chunks = triton.cdiv(elements, block * parts)
    layout, dims = _layout("thin", [x_0, *made])
    with _on(x_0):
        for a, b in _slices(batch, shared and step == 1):
            table = _tables([(p[a:b], q[a:b], step)], flag, max_count)[0] if shared else None
            _thin.thin_kernel[((b - a) * chunks,)](
                x_0[a:b], *(None if t is None else t[a:b] for t in made), p[a:b], q[a:b], center[a:b], scale[a:b],
                key if table is None else table, key, flag, layout, elements, chunks, step, max_count, a,
                SHARED=shared, BOUNDED=_bounded(x_0, max_count), ALIGNED=elements % 16 == 0, DIMS=dims, BLOCK=block,
                PARTS=parts, **OPTIONS,
            )  # fmt: skip


def _slices(batch: int, tables: bool) -> list[tuple[int, int]]:
    most = ROWS_AT_ONCE if tables else batch
    return [(a, min(a + most, batch)) for a in range(0, batch, most)]


def bridge_step(
    x_t: Tensor, logits: Tensor | None, births: Tensor | None, p: Tensor, q: Tensor, sigma_p: Tensor | None,
    sigma_q: Tensor | None, key: Tensor, max_count: int, gain: Tensor, stochastic: bool, center: Tensor, scale: Tensor,
    x_s: Tensor | None, model_input: Tensor | None, flag: Tensor,
) -> None:  # fmt: skip
    """x_s = x_t + Binomial(N, p) - Binomial(x_t, sigma), N = min(round(y), max_count - x_t); and the model input."""
    x_t, logits, births, x_s, model_input = _rows(x_t, logits, births, x_s, model_input)
    batch, elements = _size(x_t)
    if x_t.numel() == 0:
        return
    shared = max_count <= MAX_SHARED_COUNT
    step, sigma_step = _step(p, q), 0
    p, q = _dense(p, step), _dense(q, step)
    if sigma_p is not None and sigma_q is not None:
        sigma_step = _step(sigma_p, sigma_q)
        sigma_p, sigma_q = _dense(sigma_p, sigma_step), _dense(sigma_q, sigma_step)
    block, parts = _blocks_and_parts(elements, shared)
    chunks = triton.cdiv(elements, block * parts)
    layout, dims = _layout("bridge_step", [x_t, births if logits is None else logits, x_s, model_input])
    with _on(x_t):
        for a, b in _slices(batch, shared and step + sigma_step > 0):
            x, net, given, to, next_input = (
                None if t is None else t[a:b] for t in (x_t, logits, births, x_s, model_input)
            )
            pairs = [(p[a:b], q[a:b], step)]
            fall_p = fall_q = None
            if sigma_p is not None and sigma_q is not None:
                fall_p, fall_q = sigma_p[a:b], sigma_q[a:b]
                pairs.append((fall_p, fall_q, sigma_step))
            table, sigma_row = _tables(pairs, flag, max_count) if shared else (key, 0)
            _bridge.bridge_kernel[((b - a) * chunks,)](
                x, net, given, to, next_input, p[a:b], q[a:b], fall_p, fall_q, gain[a:b], center[a:b], scale[a:b],
                table, key, flag, layout, elements, chunks, step, sigma_step, sigma_row, max_count, a,
                SHARED=shared, BOUNDED=_bounded(x_t, max_count), STOCHASTIC=bool(stochastic),
                ALIGNED=elements % 16 == 0, DIMS=dims, BLOCK=block, PARTS=parts, **OPTIONS,
            )  # fmt: skip


def tau_leap_step(
    x_t: Tensor, logits: Tensor | None, births: Tensor | None, factor: Tensor, key: Tensor, max_count: int,
    gain: Tensor, center: Tensor, scale: Tensor, x_s: Tensor | None, model_input: Tensor | None, overshoot: Tensor,
    flag: Tensor,
) -> None:  # fmt: skip
    """x_s = x_t + min(Poisson(y factor), max_count - x_t). overshoot: int64 (B,), added to: pass zeros."""
    x_t, logits, births, x_s, model_input = _rows(x_t, logits, births, x_s, model_input)
    batch, elements = _size(x_t)
    if x_t.numel() == 0:
        return
    block = _blocks(elements, ELEMENT_BLOCK)
    chunks = triton.cdiv(elements, block)
    layout, dims = _layout("tau_leap_step", [x_t, births if logits is None else logits, x_s, model_input])
    with _on(x_t):
        _tau_leap.tau_leap_kernel[(batch * chunks,)](
            x_t, logits, births, x_s, model_input, overshoot, factor.contiguous(), gain, center, scale, key, flag,
            layout, elements, chunks, max_count,
            BOUNDED=_bounded(x_t, max_count), ALIGNED=elements % 16 == 0, DIMS=dims, BLOCK=block, **OPTIONS,
        )  # fmt: skip


def birth_loss(logits: Tensor, births: Tensor, weight: Tensor, gain: Tensor, loss: Tensor, flag: Tensor) -> None:
    """loss_b = weight_b times the sum over a sample of y - births log y, y = gain_b softplus(logit)."""
    batch, elements = _size(logits)
    if batch == 0:
        return
    chunks = triton.cdiv(elements, CHUNK)
    # A program a sample where that fills a GPU or leaves little to share out; else a program a chunk, then the sums.
    whole = chunks <= 4 or batch >= 2048
    layout, dims = _layout("birth_loss", [logits, births])
    sums = loss if whole else torch.empty(batch * chunks, dtype=torch.float32, device=logits.device)
    weight = weight.contiguous()
    with _on(logits):
        _birth_loss.birth_loss_kernel[(batch if whole else batch * chunks,)](
            logits, births, weight, gain, loss, sums, flag, layout, elements, chunks,
            WHOLE=whole, ALIGNED=elements % 16 == 0, DIMS=dims, **CHUNK_OPTIONS,
        )  # fmt: skip
        if not whole:
            _birth_loss.add_chunks_kernel[(triton.cdiv(batch, 32),)](
                sums, weight, loss, batch, chunks, ROWS=32, **OPTIONS
            )


def birth_loss_backward(
    logits: Tensor, births: Tensor, coefficient: Tensor, gain: Tensor, grad: Tensor, flag: Tensor
) -> None:  # fmt: skip
    """grad = coefficient_b (gain_b sigmoid(logit) - births sigmoid(logit) / softplus(logit)), in logits' dtype."""
    batch, elements = _size(logits)
    if logits.numel() == 0:
        return
    block = _blocks(elements, CHUNK)
    chunks = triton.cdiv(elements, block)
    layout, dims = _layout("birth_loss", [logits, births, grad])
    with _on(logits):
        _birth_loss.birth_loss_grad_kernel[(batch * chunks,)](
            logits, births, coefficient.contiguous(), gain, grad, flag, layout, elements, chunks,
            ALIGNED=elements % 16 == 0, DIMS=dims, BLOCK=block, **CHUNK_OPTIONS,
        )  # fmt: skip


def binomial(count: Tensor, p: Tensor, q: Tensor | None, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """Binomial(count, p), element by element; q None: 1 - p in float64."""
    count, p, q, out = _rows(count, p, q, out)
    batch, elements = _size(count)
    if count.numel() == 0:
        return
    block = _blocks(elements, ELEMENT_BLOCK)
    chunks = triton.cdiv(elements, block)
    layout, dims = _layout("binomial", [count, p, q, out])
    with _on(count):
        _binomial.binomial_kernel[(batch * chunks,)](
            count, p, q, out, key, flag, layout, elements, chunks,
            ALIGNED=elements % 16 == 0, DIMS=dims, BLOCK=block, **OPTIONS,
        )  # fmt: skip


def poisson(rate: Tensor, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """Poisson(rate), element by element."""
    rate, out = _rows(rate, out)
    batch, elements = _size(rate)
    if rate.numel() == 0:
        return
    block = _blocks(elements, ELEMENT_BLOCK)
    chunks = triton.cdiv(elements, block)
    layout, dims = _layout("poisson", [rate, out])
    with _on(rate):
        _poisson.poisson_kernel[(batch * chunks,)](
            rate, out, key, flag, layout, elements, chunks,
            ALIGNED=elements % 16 == 0, DIMS=dims, BLOCK=block, **OPTIONS,
        )  # fmt: skip
