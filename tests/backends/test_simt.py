"""The CUDA kernels, run on the CPU by csrc/simt: known answers, how losses spread, ties, sizes, in place.

test_product.py compares every op with the reference, in whatever order threads run.
"""

import mmap

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.backends import cuda
from fastblackout.reference.draw import TWO_48, thresholds, uniforms
from fastblackout.reference.philox import Stream
from support import gpu_checks, product
from support.op_table import COUNTS, OPS, PLAIN
from support.simt import _simt, check, column, new_flag

MAP_NORESERVE = 0x4000  # Linux's; Python has no name for it


@pytest.fixture(autouse=True)
def built():
    _simt.configure("forward", 0, 1)
    yield
    _simt.configure("forward", 0, 1)


def test_philox_known_answers():
    gpu_checks.check_philox(torch.device("cpu"), _simt)


@pytest.mark.parametrize("op", OPS)
def test_an_op_is_one_launch(op):
    a, key = product.arguments(op, PLAIN | {"shape": (2, 3000)}), fb.Philox(3).tensor()
    made = {name: value.clone() for name, value in product.public(op, a, fb.Philox(3)).items()}
    before = _simt.launches()
    OPS[op].kernel(product.kernels_of("simt-forward"), a, key, made, new_flag())
    assert _simt.launches() - before == (2 if op.endswith("loss") else 1)  # the loss, and its gradient


@pytest.mark.parametrize("schedule", ["forward", "reverse", "random"])
def test_what_counts_chunks_is_zero_again(schedule, monkeypatch):
    """So that a replay of the launch finds it as it was."""
    _simt.configure(schedule, 3, 2)
    counters, new_zeros = [], torch.Tensor.new_zeros
    monkeypatch.setattr(
        torch.Tensor, "new_zeros", lambda *given, **how: counters.append(new_zeros(*given, **how)) or counters[-1]
    )
    random = torch.Generator().manual_seed(2)
    for elements in (8193, 70_000, 9216):  # 70,000: more chunks than a warp has lanes
        logits = torch.randn(3, elements, generator=random)
        births = torch.randint(0, 9, (3, elements), generator=random)
        weight, loss, flag = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), torch.empty(3), new_flag()
        cuda.birth_loss(logits, births, weight, torch.ones(3), loss, flag, module=_simt)
        check("loss", loss, fb.birth_loss(logits, births, weight, backend="reference"))
        assert flag.item() == 0
    assert [counter.tolist() for counter in counters] == [[0, 0, 0]] * 3


BLOCKS = [((16, 3072), 16, 3), ((3, 7), 3, 1), ((2, 1025), 2, 2), ((2, 8192), 2, 8), ((2, 8193), 18, 1)]


@pytest.mark.parametrize("shape, blocks, chunks", BLOCKS, ids=str)
def test_a_sample_is_a_block(shape, blocks, chunks):
    """Of 128 threads a chunk, up to 8 chunks; of a larger sample every chunk is a block."""
    logits, births, loss = torch.zeros(shape), torch.ones(shape, dtype=torch.uint8), torch.empty(shape[0])
    weight, gain = torch.ones(shape[0], dtype=torch.float64), torch.ones(shape[0])
    cuda.birth_loss(logits, births, weight, gain, loss, new_flag(), module=_simt)
    assert _simt.last_launch() == (blocks, 128 * chunks)


@pytest.mark.parametrize("op, most", [("birth_loss", 8 * 1024), ("energy_loss", 1024), ("posterior_loss", 1024)])
def test_a_sample_of_one_block_needs_no_counter(op, most, monkeypatch):
    """Which would be zeroed by a launch of its own."""
    counters, new_zeros, key = [], torch.Tensor.new_zeros, fb.Philox(3)
    for elements in (0, 9, most, most + 1):
        a = product.arguments(op, PLAIN | {"shape": (2, elements)})
        wanted = product.public(op, a, key, "reference")
        made = {name: torch.full_like(value, 7) for name, value in wanted.items()}
        counters.clear()
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "new_zeros", lambda *x, **how: counters.append(1) or new_zeros(*x, **how))
            OPS[op].kernel(product.kernels_of("simt-forward"), a, key.tensor(), made, new_flag())
        assert len(counters) == (elements > most)
        for name, value in wanted.items():
            check(f"{elements} elements: {name}", made[name], value)


def test_ties_and_window_misses_are_drawn_again():
    """2 million draws at p = 1/2: some 2,700 meet a threshold and some 100 leave the window; all equal the CPU's."""
    x, p, rng, flag = torch.full((1, 2**21), 255, dtype=torch.uint8), column([0.5], 1), fb.Philox(3), new_flag()
    out = torch.empty_like(x)
    one, zero = torch.ones(1), torch.zeros(1)
    cuda.thin(x, p, 1 - p, rng.tensor(), 255, zero, one, out, None, None, flag, module=_simt)
    check("x_t", out, fb.thin(x, fb.Prob(p, 1 - p), rng=rng, outputs="x_t", backend="cpu").x_t)


@pytest.mark.parametrize("max_count", [255, 300])  # tables in shared memory alone, and beside draws of elements
@pytest.mark.parametrize("n", [1, 16])  # a row of the lower uniform, and of the upper one
def test_uniforms_that_meet_a_threshold_in_32_bits(n, max_count):
    """The first threshold of each sample is a uniform of 48 bits, or lies a little above or below it."""
    rng, x, q = fb.Philox(5, call=2), torch.full((30, 64), n, dtype=torch.int16), np.empty(30)
    drawn, seen = uniforms(30, 64, rng, Stream.THIN_DRAW, Stream.THIN_REFINE)[n == 1], set()
    for row, of_row in enumerate(drawn):
        u = of_row[np.argmax((of_row > 0.6 * TWO_48) & (of_row < 0.9 * TWO_48))]
        q[row] = ((int(u) + 40 * (row % 3 - 1)) / TWO_48) ** (1 / n)
        (first,) = thresholds(n, 1 - q[[row]], q[[row]])[:, 0]
        if first >> np.uint64(16) == u >> np.uint64(16):
            seen.add(int(np.sign(int(u) - int(first))))
    assert seen >= ({-1, 0, 1} if n == 1 else {-1, 1})
    p, q, one, out, flag = torch.from_numpy(1 - q), torch.from_numpy(q), torch.ones(30), torch.empty_like(x), new_flag()
    cuda.thin(x, p, q, rng.tensor(), max_count, one, one, out, None, None, flag, module=_simt)
    given = {"max_count": max_count, "outputs": "x_t", "rng": rng, "backend": "reference"}
    check("x_t", out, fb.thin(x, fb.Prob(p, q), **given).x_t)


@pytest.mark.parametrize("max_count", [255, 300])
def test_ties_of_rounded_births(max_count):
    gpu_checks.check_rounding_ties(product.kernels_of("simt-forward"), max_count)


@pytest.mark.parametrize("op", ["thin", "bridge_step"])
def test_pieces_of_large_arrays(op):
    """From 2^26 elements on a block draws 65,536, of which some hundred meet a threshold. One block runs."""
    _simt.configure("forward", 0, 1, first_block=1, blocks=1)
    size, first, end = 1 << 26, 1 << 16, 1 << 17
    x, half, one, flag = torch.zeros(1, size, dtype=torch.uint8), column([0.5], 1), torch.ones(1), new_flag()
    x[:, :end], births, rng = 127, torch.full((1, 1), 128, dtype=torch.uint8).expand(1, size), fb.Philox(8)
    out, some = torch.zeros_like(x), x[:, :end]
    if op == "thin":
        cuda.thin(x, half, half, rng.tensor(), 255, one, one, out, None, None, flag, module=_simt)
        want = fb.thin(some, 0.5, rng=rng, outputs="x_t", backend="cpu").x_t
    else:
        pairs = half, half, half, half, rng.tensor()
        cuda.bridge_step(x, None, births, *pairs, 255, one, True, one, one, out, None, flag, module=_simt)
        given = {"births": births[:, :end], "step": 0.5, "attrition": 0.5, "rng": rng, "backend": "cpu"}
        want = fb.bridge_step(some, **given).x_s
    assert _simt.last_launch()[0] == size // (end - first)
    check("its piece", out[:, first:end], want[:, first:])
    assert not out[:, :first].any() and not out[:, end:].any() and flag.item() == 0


def untouched(elements, dtype):
    """Memory of zeros that is there where it is touched."""
    size = elements * torch.empty((), dtype=dtype).element_size()
    return torch.frombuffer(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE), dtype=dtype)


def far(tensor, more):
    """A copy whose samples lie more than 2^32 elements apart."""
    stride, inner = 2**32 + more, torch.empty(tensor.shape[1:]).stride()
    whole = untouched(len(tensor) * stride, tensor.dtype)
    return whole.as_strided(tensor.shape, (stride, *inner)).copy_(tensor)


@pytest.mark.parametrize("more", [16, 17])  # 16 bytes an access, and element by element
@pytest.mark.parametrize("op", OPS)
def test_samples_far_apart(op, more):
    case = PLAIN | {"shape": (3, 2, 520), "counts": "uint8", "inputs": "bfloat16", "max_count": 255}
    a = product.arguments(op, case)
    expected = product.public(op, a, case["key"], "reference")
    images = {name for name in OPS[op].images if getattr(a.get(name), "shape", ())[:1] == (3,)}
    there = {name: far(value, more) if name in images else value for name, value in a.items()}
    out = {n: far(value, more) if value.ndim > 1 else value.clone() for n, value in expected.items()}
    for value in out.values():
        product.poison(value)
    product.launch(product.kernels_of("simt-forward"), op, there, case["key"], out)
    for name, value in out.items():
        product.same(name, value, expected[name])


def test_elements_beyond_32_bits():
    """The blocks of elements around 2^32, where a sample ends."""
    shape, block = (65_537, 65_536), 2**24
    _simt.configure("forward", 0, 1, first_block=block - 1, blocks=3)
    n = torch.full((1, 1), 200, dtype=torch.uint8).expand(shape)
    p, q = (column([value], 1)[:, None].expand(shape) for value in (0.375, 0.625))
    out, flag, rng = untouched(shape[0] * shape[1], torch.uint8).view(shape), new_flag(), fb.Philox(3, first_sample=9)
    cuda.binomial(n, p, q, rng.tensor(), out, flag, module=_simt)
    want = fb.binomial(n[-2:], 0.375, rng=rng.at(first_sample=9 + shape[0] - 2), backend="cpu")
    check("elements", out.view(-1)[2**32 - 256 : 2**32 + 512], want.view(-1)[2**16 - 256 : 2**16 + 512])
    assert not out[-2, :-256].any() and not out[-1, 512:].any() and not out[0].any() and flag.item() == 0


def test_in_place():
    x, p = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), column([0.4, 0.8], 2)
    rng, flag = fb.Philox(9), new_flag()
    want = fb.thin(x, fb.Prob(p, 1 - p), rng=rng, backend="cpu").x_t
    cuda.thin(x, p, 1 - p, rng.tensor(), 255, torch.zeros(2), torch.ones(2), x, None, None, flag, module=_simt)
    check("x_t", x, want)


@pytest.mark.parametrize("shape", [(3, 1540), (2, 2056), (1, 2055), (3, 2560), (2, 1031)], ids=str)
@pytest.mark.parametrize("floats", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("op", ["thin", "bridge_step", "birth_loss"])
def test_16_bytes_an_access_and_the_ends_of_odd_sizes(op, floats, shape):
    """Whole tiles and chunks and what is left of one; rows of which some dtypes are 16-byte aligned and others are not:
    1,540 is a multiple of 4, 2,056 of 8, 2,560 of 512; 1,031 of nothing."""
    kernels = product.kernels_of("simt-forward")
    for number, (counts, given) in enumerate(zip(COUNTS, ("", "int16", "floats", "uint8"), strict=True)):
        case = {"shape": shape, "layout": "contiguous", "counts": counts, "floats": floats, "key": fb.Philox(5)}
        case |= {"max_count": (255, 200)[number % 2], "given": given, "fall": number % 2}
        a = product.arguments(op, case, number)
        product.check("simt-forward", kernels, "cpu", op, case, a, product.public(op, a, case["key"], "reference"))


def test_the_device_in_use_stays():
    """torch takes the device in use for its current one: an op on another device must give it back."""
    assert _simt.device() == 0
    out, flag = torch.empty(1, 4, dtype=torch.int64), new_flag()
    cuda.poisson(torch.ones(1, 4), fb.Philox(1).tensor(), out, flag, module=_simt)  # on device -1
    assert _simt.device() == 0
