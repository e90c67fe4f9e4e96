"""GroupNorm followed by SiLU, as one kernel where a network is compiled for a CPU.

The loops that torch's compiler makes of them take more than twice as long as this kernel, and torch's own GroupNorm
leaves SiLU a pass of its own. The kernel (csrc/cpu/group_norm.cpp) is for float32 with channels side by side
(channels_last), as a compiled network has them. Networks that are not compiled, or exported by torch.export with
strict=False (the default of newer versions of torch), keep torch's operations.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..arrays import DTYPES
from ..backends import select
from ..call.torch_registry import library


def group_norm_silu(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """silu(norm(x)), x (B, C, H, W) -> the same: silu(z) = z sigmoid(z) of z = weight (x - m) / sqrt(v + eps) + bias,
    where m and v are mean and variance over the pixels of an image and a group of channels."""
    compiled = torch.compiler.is_dynamo_compiling()  # by torch.compile: False in torch.export, unless it is strict
    if not compiled or x.device.type != "cpu" or not x.dtype == norm.weight.dtype == torch.float32:
        return F.silu(norm(x))
    x = x.contiguous(memory_format=torch.channels_last)
    y: Tensor = torch.ops.fastblackout.group_norm_silu(x, norm.weight, norm.bias, norm.num_groups, norm.eps)[0]
    return y


def _run(name: str, x: Tensor, groups: int, *fields: Any) -> None:
    batch, channels, height, width = x.shape
    size = batch, channels * height * width
    code = DTYPES.index("float32")
    arrays = [(field.data_ptr(), code, (), ()) if isinstance(field, Tensor) else field for field in fields]
    kernel = getattr(select.cpu_module("group_norm_silu"), name)
    kernel(size, select.threads(), select.isa(), channels, groups, *arrays)


def _check(name: str, value: Tensor, shape: tuple[int, ...] | torch.Size) -> None:
    if value.dtype != torch.float32:
        raise TypeError(f"group_norm_silu: {name}: must be float32, got {value.dtype}")
    if value.shape != shape:
        raise ValueError(f"group_norm_silu: {name}: must have shape {tuple(shape)}, got {tuple(value.shape)}")


def _forward_shapes(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    if x.ndim != 4 or groups < 1 or x.shape[1] % groups:
        rule = f"must have shape (B, C, H, W), C a multiple of the {groups} groups"
        raise ValueError(f"group_norm_silu: x: {rule}, got {tuple(x.shape)}")
    _check("x", x, x.shape)
    _check("weight", weight, x.shape[1:2])
    _check("bias", bias, x.shape[1:2])
    means = x.new_empty(x.shape[0], groups)
    return torch.empty_like(x, memory_format=torch.channels_last), means, torch.empty_like(means)


def _forward(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """y, and for the gradient the means and 1 / sqrt(v + eps), (B, G)."""
    y, means, scales = _forward_shapes(x, weight, bias, groups, eps)
    dense = x.contiguous(memory_format=torch.channels_last)
    _run("group_norm_silu", x, groups, eps, dense, weight.contiguous(), bias.contiguous(), means, scales, y)
    return y, means, scales


def _gradient_shapes(
    upstream: Tensor, x: Tensor, weight: Tensor, bias: Tensor, means: Tensor, scales: Tensor, groups: int
) -> tuple[Tensor, Tensor, Tensor]:
    by_x, statistics, _ = _forward_shapes(x, weight, bias, groups, 0.0)
    _check("upstream", upstream, x.shape)
    _check("means", means, statistics.shape)
    _check("scales", scales, statistics.shape)
    return by_x, weight.new_empty(weight.shape), bias.new_empty(bias.shape)


def _gradient(
    upstream: Tensor, x: Tensor, weight: Tensor, bias: Tensor, means: Tensor, scales: Tensor, groups: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients by x, weight and bias from the one by y."""
    made = _gradient_shapes(upstream, x, weight, bias, means, scales, groups)
    dense, dense_upstream = (image.contiguous(memory_format=torch.channels_last) for image in (x, upstream))
    numbers = [each.contiguous() for each in (weight, bias, means, scales)]
    _run("group_norm_silu_gradient", x, groups, dense, *numbers, dense_upstream, *made)
    return made


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, bias, ctx.groups, _ = inputs
    _, means, scales = output
    ctx.save_for_backward(x, weight, bias, means, scales)
    ctx.mark_non_differentiable(means, scales)


def _backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    upstream = upstream.contiguous(memory_format=torch.channels_last)
    gradients = torch.ops.fastblackout.group_norm_silu_backward(upstream, *ctx.saved_tensors, ctx.groups)
    return (*gradients, None, None)


_OF_IMAGES = "Tensor x, Tensor weight, Tensor bias"
for _name, _arguments, _impl, _shapes in (
    ("group_norm_silu", f"{_OF_IMAGES}, int groups, float eps", _forward, _forward_shapes),
    (
        "group_norm_silu_backward",
        f"Tensor upstream, {_OF_IMAGES}, Tensor means, Tensor scales, int groups",
        _gradient,
        _gradient_shapes,
    ),
):
    library.define(f"{_name}({_arguments}) -> (Tensor, Tensor, Tensor)", tags=torch.Tag.pt2_compliant_tag)
    library.impl(_name, _impl, "CPU")
    torch.library.register_fake(f"fastblackout::{_name}", _shapes, lib=library)
torch.library.register_autograd("fastblackout::group_norm_silu", _backward, setup_context=_save, lib=library)
