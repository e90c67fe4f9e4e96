"""A batch of 256 split over ranks by first_sample draws the bytes of the whole batch: every op, every backend.

Here the reference, the CPU's instruction sets and the CUDA kernels in the SIMT shim; triton_single.py has Triton's
interpreter, test_gpu.py a GPU.
"""

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.arrays import bits
from support.draws import DRAWS
from support.gpu_checks import check_ranks, draws_by_key
from support.op_table import OPS, PLAIN
from support.product import arguments, public
from support.right_calls import calls

BATCH, SHAPE = 256, (1, 5, 7)
FIRST = 2**31 - 5  # of the global batch: the split runs over the sign bit of the 32-bit counter
RNG = fb.Philox(seed=2**63 + 11, first_sample=FIRST, call=9)
SCHEDULE = fb.Schedule.logit(steps=50)
OTHERS = ["split", "multinomial", "skellam", "categorical_rows", "categorical_rows of logits", "Uniform.sample_forward"]


def most_of(op):
    return 15 if op == "transition_rows" else 100  # of it a sample is a matrix


@pytest.mark.parametrize("op", OPS)
def test_any_number_of_ranks_gives_the_same_bytes(op, backend):
    for most in (most_of(op), *([4000] if op in DRAWS or op.endswith("step") or op == "thin" else [])):
        check_ranks(op, "auto", "cpu", (BATCH, *SHAPE), most)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("schedule", ["forward", pytest.param("random", marks=pytest.mark.slow)])
def test_simt_ranks(op, schedule):
    check_ranks(op, f"simt-{schedule}", "cpu", (BATCH, *SHAPE), most_of(op))


@pytest.mark.parametrize("op", [op for op in OPS if draws_by_key(op)])
def test_without_first_sample_ranks_would_repeat_each_other(op):
    """The checks above can fail: ranks that keep the same first_sample do not give the bytes of the whole."""
    a = arguments(op, PLAIN | {"shape": (8, *SHAPE)})
    a = {name: torch.cat([v[:4], v[:4]]) if isinstance(v, torch.Tensor) and len(v) == 8 else v for name, v in a.items()}
    drawn = next(iter(public(op, a, RNG).values()))
    assert bits(drawn[:4]) != bits(drawn[4:])


def parts(ranks):
    """As a sampler that spreads 256 over ranks would: 86, 85, 85 for three."""
    edges = [BATCH * rank // ranks for rank in range(ranks + 1)]
    return [slice(low, high) for low, high in zip(edges[:-1], edges[1:], strict=True)]


def draw(part, rng):
    """Time indices: each rank gives the size of the global batch, and its own part of it."""
    own = rng.at(first_sample=rng.first_sample - FIRST)
    return SCHEDULE.draw(part.stop - part.start, own, global_batch=BATCH)


def other(name):
    op, right = calls(np.asarray, (BATCH, *SHAPE))[name]

    def call(part, rng):
        given = {each: v[part] if isinstance(v, np.ndarray) and len(v) == BATCH else v for each, v in right.items()}
        return op(**given | {"rng": rng})

    return call


@pytest.mark.parametrize("name", ["Schedule.draw", *OTHERS])
def test_what_is_made_of_other_draws(name, backend):
    call = draw if name == "Schedule.draw" else other(name)

    def made(part):
        results = call(part, RNG.at(first_sample=FIRST + part.start))
        return results if isinstance(results, tuple) else (results,)

    whole = made(slice(0, BATCH))
    for ranks in (2, 3, 8):
        joined = zip(*map(made, parts(ranks)), strict=True)
        assert [bits(np.concatenate(pieces)) for pieces in joined] == [bits(each) for each in whole]
