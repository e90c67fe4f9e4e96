"""How birth_loss spreads over a GPU: blocks as the shim counts them, and the time of a warp by its machine code."""

import pytest
import torch

from fastblackout.backends import cuda
from support import clocks, cuda_counts
from support.cuda_module import built, module_path, needs_tools
from support.simt import _simt, new_flag

SAMPLES = [((16, 3072), 16, 3), ((3, 7), 3, 1), ((2, 1025), 2, 2), ((2, 8192), 2, 8), ((2, 8193), 18, 1)]
ROUNDS, QUADS = 2, 4  # of a lane, and elements of each


@pytest.mark.skipif(_simt is None, reason="the SIMT shim is not built: FASTBLACKOUT_SIMT=1")
@pytest.mark.parametrize("shape, blocks, chunks", SAMPLES, ids=str)
def test_a_sample_is_a_block(shape, blocks, chunks, monkeypatch):
    """Of 128 threads a chunk, up to 8 chunks, without scratch; of a larger sample every chunk is a block."""
    scratch, new_zeros = [], torch.Tensor.new_zeros
    monkeypatch.setattr(torch.Tensor, "new_zeros", lambda *given, **how: scratch.append(1) or new_zeros(*given, **how))
    logits, births, loss = torch.zeros(shape), torch.ones(shape, dtype=torch.uint8), torch.empty(shape[0])
    weight, gain = torch.ones(shape[0], dtype=torch.float64), torch.ones(shape[0])
    cuda.birth_loss(logits, births, weight, gain, loss, new_flag(), module=_simt)
    assert _simt.last_launch() == (blocks, 128 * chunks)
    assert bool(scratch) == (shape[1] > 8 * 1024)


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
