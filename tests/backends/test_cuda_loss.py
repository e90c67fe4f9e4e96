"""How losses spread over a GPU: blocks as the shim counts them, and the time of a warp by its machine code."""

import pytest
import torch

import fastblackout as fb
from fastblackout.backends import cuda
from support import clocks, cuda_counts, product
from support.cuda_module import built, module_path, needs_tools
from support.op_table import OPS, PLAIN
from support.simt import _simt, check, new_flag

SAMPLES = [((16, 3072), 16, 3), ((3, 7), 3, 1), ((2, 1025), 2, 2), ((2, 8192), 2, 8), ((2, 8193), 18, 1)]
ROUNDS, QUADS = 2, 4  # of a lane, and elements of each


needs_shim = pytest.mark.skipif(_simt is None, reason="the SIMT shim is not built: FASTBLACKOUT_SIMT=1")


@needs_shim
@pytest.mark.parametrize("shape, blocks, chunks", SAMPLES, ids=str)
def test_a_sample_is_a_block(shape, blocks, chunks):
    """Of 128 threads a chunk, up to 8 chunks; of a larger sample every chunk is a block."""
    logits, births, loss = torch.zeros(shape), torch.ones(shape, dtype=torch.uint8), torch.empty(shape[0])
    weight, gain = torch.ones(shape[0], dtype=torch.float64), torch.ones(shape[0])
    cuda.birth_loss(logits, births, weight, gain, loss, new_flag(), module=_simt)
    assert _simt.last_launch() == (blocks, 128 * chunks)


@needs_shim
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


@needs_tools
def test_a_batch_of_images_on_an_h100():
    """256 images of 3x32x32: docs/performance-notes.md states these clocks."""
    architecture, multiprocessors, schedulers = built("90"), 132, 4
    registers = cuda_counts.registers(module_path(), architecture, "loss_kernel")
    blocks, warps = -(-256 // multiprocessors), 12  # on the busiest multiprocessor, and of each
    assert blocks * warps * 32 * registers <= 65536, "they are there at once"
    issue = (
        blocks
        * warps
        / schedulers
        * ROUNDS
        * QUADS
        * cuda_counts.instructions(module_path(), architecture, "loss_kernel")
    )
    assert 6000 < issue < 6700, issue
    (round_of,) = [
        loop
        for loop in clocks.loops(clocks.kernel(module_path(), architecture, "loss_kernel"))
        if sum("FMUL" in line.text for line in loop) > 20
    ]
    alone = ROUNDS * clocks.clocks(round_of, loop=True)
    assert 3300 < alone < 4000, alone
    assert alone < issue, "issuing binds, not waiting"
