"""GroupNorm with SiLU of compiled networks: the kernel against float64, its bits, and where networks use it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastblackout.backends import available
from fastblackout.models import group_norm
from fastblackout.models.layers import BigGANBlock
from support.helpers import ISAS

_cpu = available.load("_cpu")
EPS = 1e-6
# images, pixels, channels, groups: a tile of whole pixels; channels that share no factor with a vector; tiles of
# several pixels; one pixel; parts of a block at the end; fewer numbers than a vector; groups of a channel, and one
# channel; nothing at all; enough for threads
CASES = [(2, 64, 32, 8), (3, 35, 36, 9), (2, 9, 260, 26), (2, 1, 8, 2), (3, 7, 12, 3), (2, 3, 4, 1), (2, 6, 5, 5)]
CASES += [(3, 5, 1, 1), (0, 4, 4, 2), (5, 784, 96, 24)]


def a_case(images, pixels, channels, groups, mean=0.5):
    rng = np.random.default_rng(pixels + channels)
    x, upstream = (rng.normal(m, 2.0, (images, pixels, channels)).astype(np.float32) for m in (mean, 0.5))
    weight, bias = rng.normal(0, 1, (2, channels)).astype(np.float32)
    return x, upstream, weight, bias, groups


def by_kernel(x, upstream, weight, bias, groups, isa="scalar", threads=1):
    """y, and the gradients by x, weight and bias."""
    images, pixels, channels = x.shape
    how = (images, pixels * channels), threads, ISAS.index(isa), channels, groups
    means, scales = np.full((2, images, groups), np.nan, np.float32)
    y, by_x = np.full((2, *x.shape), np.nan, np.float32)
    by_weight, by_bias = np.full((2, channels), np.nan, np.float32)
    _cpu.group_norm_silu(*how, EPS, x, weight, bias, means, scales, y)
    _cpu.group_norm_silu_gradient(*how, x, weight, bias, means, scales, upstream, by_x, by_weight, by_bias)
    return y, by_x, by_weight, by_bias


def in_float64(x, upstream, weight, bias, groups):
    x, upstream, weight, bias = (torch.tensor(each, dtype=torch.float64) for each in (x, upstream, weight, bias))
    leaves = [x.movedim(-1, 1).requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    y = F.silu(F.group_norm(leaves[0], groups, *leaves[1:], EPS))
    by_x, *others = torch.autograd.grad(y, leaves, upstream.movedim(-1, 1))
    return [each.detach().numpy() for each in (y.movedim(1, -1), by_x.movedim(1, -1), *others)]


def off_by(found, expected):
    return np.abs(found - expected).max(initial=0.0) / np.abs(expected).max(initial=1e-30)


@pytest.mark.parametrize("mean", [0.5, 1000.0])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_group_norm_and_silu(case, mean):
    """Within 1e-6 of the largest value. The mean is kept in float32: far from 0 its last bit, 2^-24 of itself, is
    a part of the deviation of 2, which the network's weights multiply."""
    given = a_case(*case, mean=mean)
    for found, expected in zip(by_kernel(*given), in_float64(*given), strict=True):
        assert off_by(found, expected) < 1e-6 + 2 * (mean / 2 * 2.0**-24)


def test_pixels_unlike_the_others():
    """A corner far from the rest, and an image whose evenly spread pixels are unlike the others."""
    given = list(a_case(2, 4096, 8, 2))
    given[0] = given[0] * np.float32(1e-3)
    given[0][0, 0] = 100.0
    given[0][1, 128::256] = 5.0
    for found, expected in zip(by_kernel(*given), in_float64(*given), strict=True):
        assert off_by(found, expected) < 2e-5


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_bits_depend_on_neither_instruction_set_nor_threads(case, isa):
    given = a_case(*case)
    for threads in (1, 3):
        for found, expected in zip(by_kernel(*given, isa, threads), by_kernel(*given), strict=True):
            assert np.array_equal(found.view(np.int32), expected.view(np.int32))


def test_where_all_are_equal_and_where_silu_is_flat():
    x = np.full((1, 50, 8), 3.0, np.float32)
    flat = np.full_like(x, 1.0), np.ones(8, np.float32), np.float32([-300, -88, -20, 0, 0, 20, 88, 300])
    y, by_x, by_weight, by_bias = by_kernel(x, *flat, 2)
    assert np.allclose(y, F.silu(torch.tensor(flat[2])).numpy(), rtol=1e-6, atol=1e-35)  # where it is less, 0
    assert np.isfinite(by_x).all() and not by_weight.any()
    assert by_bias.tolist()[::7] == [0.0, 50.0]
    x[0, 7, 3] = np.nan
    assert np.isnan(by_kernel(x, *flat, 2)[0]).sum() == 50 * 4  # the whole group


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
def test_torch_knows_the_ops(layout):
    """Schema, shapes and gradient, for images that do not lie as the kernel wants them too."""
    ops = torch.ops.fastblackout
    x, upstream = (torch.randn(2, 8, 3, 5).to(memory_format=layout) for _ in range(2))
    weight, bias = torch.randn(2, 8)
    y, *statistics = ops.group_norm_silu(x, weight, bias, 2, EPS)
    torch.library.opcheck(ops.group_norm_silu_backward.default, (upstream, x, weight, bias, *statistics, 2))
    leaves = [each.requires_grad_() for each in (x, weight.clone(), bias.clone())]
    torch.library.opcheck(ops.group_norm_silu.default, (*leaves, 2, EPS))
    assert torch.allclose(y, F.silu(F.group_norm(x, 2, weight, bias, EPS)), atol=1e-5)


def test_ops_refuse_what_the_kernel_would_misread():
    ops, x, c = torch.ops.fastblackout, torch.randn(2, 8, 3, 5), torch.ones(8)
    y, means, scales = ops.group_norm_silu(x, c, c, 2, EPS)
    for wrong, words in (
        (lambda: ops.group_norm_silu(x.bfloat16(), c, c, 2, EPS), "x: must be float32, got torch.bfloat16"),
        (lambda: ops.group_norm_silu(x, c.double(), c, 2, EPS), "weight: must be float32, got torch.float64"),
        (lambda: ops.group_norm_silu(x, c, c[:7], 2, EPS), r"bias: must have shape \(8,\), got \(7,\)"),
        (lambda: ops.group_norm_silu(x[0], c, c, 2, EPS), r"x: must have shape \(B, C, H, W\), C a multiple of the 2"),
        (lambda: ops.group_norm_silu(x, c, c, 3, EPS), r"C a multiple of the 3 groups, got \(2, 8, 3, 5\)"),
        (lambda: ops.group_norm_silu_backward(y[1:], x, c, c, means, scales, 2), r"upstream: must have shape \(2, 8"),
        (lambda: ops.group_norm_silu_backward(y, x, c, c, means[:1], scales, 2), "means: must have shape"),
        (lambda: ops.group_norm_silu_backward(y, x, c, c, means, scales[0], 2), "scales: must have shape"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^group_norm_silu: .*{words}"):
            wrong()


@pytest.mark.parametrize(
    ("dtype", "compiled", "used"), [(torch.float32, True, 1), (torch.float32, False, 0), (torch.float64, True, 0)]
)
def test_a_compiled_float32_network_uses_it(dtype, compiled, used, monkeypatch):
    calls = []
    monkeypatch.setattr(group_norm, "_run", lambda *given: calls.append(given[0]))
    norm, x = nn.GroupNorm(2, 8, dtype=dtype), torch.randn(3, 8, 2, 2, dtype=dtype, requires_grad=True)

    def run(x):
        return group_norm.group_norm_silu(norm, x)

    if compiled:
        run = torch.compile(run, backend="aot_eager", fullgraph=True)
    run(x).sum().backward()
    assert calls == ["group_norm_silu", "group_norm_silu_gradient"][: 2 * used]


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_block_is_the_block(backend):
    block = BigGANBlock(8, 12, 16, dropout=0.0, resample="down").to(memory_format=torch.channels_last)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, embedding = torch.randn(3, 8, 6, 6, requires_grad=True), torch.randn(3, 16)
    results = []
    for run in (block, torch.compile(block, backend=backend, fullgraph=True)):
        out = run(x, embedding)
        results.append([out, *torch.autograd.grad(out.square().sum(), [x, *block.parameters()])])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4 * one.abs().max().item())


def test_an_exported_block_needs_no_op_of_ours():
    block = BigGANBlock(8, 8, 16, dropout=0.0).eval()
    program = torch.export.export(block, (torch.randn(2, 8, 4, 4), torch.randn(2, 16)), strict=False)
    assert "fastblackout" not in str(program.graph) and "group_norm" in str(program.graph)


@pytest.mark.parametrize(("channels", "groups", "elements"), [(8, 3, 16), (0, 1, 16), (8, 0, 16), (8, 2, 20)])
def test_the_kernel_refuses_what_does_not_divide(channels, groups, elements):
    array = np.zeros(64, np.float32)
    with pytest.raises(ValueError, match="^group_norm_silu: "):
        _cpu.group_norm_silu((1, elements), 1, 0, channels, groups, EPS, *[array] * 6)
