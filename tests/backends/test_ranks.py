"""A batch of 256 split over ranks by first_sample draws the bytes of the whole batch: every op, every backend.

Here the reference, the CPU's instruction sets and the CUDA kernels in the SIMT shim; triton_single.py has Triton's
interpreter, test_gpu.py a GPU.
"""

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.arrays import bits
from support.gpu_checks import check_ranks
from support.op_table import OPS, STATES

BATCH, SHAPE = 256, (1, 5, 7)
FIRST = 2**31 - 5  # of the global batch: the split runs over the sign bit of the 32-bit counter
RNG = fb.Philox(seed=2**63 + 11, first_sample=FIRST, call=9)
RANDOM = np.random.default_rng(0)
COUNTS = RANDOM.integers(0, 200, (BATCH, *SHAPE))
LOGITS = RANDOM.normal(1.0, 3.0, (BATCH, *SHAPE)).astype(np.float32)
P = RANDOM.random(BATCH)
SIGMA = RANDOM.random(BATCH) * 0.3
SCHEDULE = fb.Schedule.logit(steps=50)


def thin(part, rng, max_count):
    dtype = np.uint8 if max_count == 255 else np.int32
    return fb.thin(COUNTS[part].astype(dtype), P[part], rng=rng, max_count=max_count, center=P[part] * 100, scale=0.01)


def bridge(part, rng, max_count):
    dtype = np.uint8 if max_count == 255 else np.int32
    attrition = fb.Prob(SIGMA[part], 1 - SIGMA[part])
    given = {"rng": rng, "max_count": max_count, "gain": P[part] * 50, "attrition": attrition}
    return fb.bridge_step(COUNTS[part].astype(dtype), LOGITS[part], fb.Prob(P[part], 1 - P[part]), **given)


def tau_leap(part, rng, max_count):
    x = torch.from_numpy(COUNTS[part].astype(np.int32))
    return fb.tau_leap_step(x, torch.from_numpy(LOGITS[part]), P[part] * 2, rng=rng, max_count=max_count, gain=20.0)


def law_step(part, rng, max_count):
    dtype = np.uint8 if max_count == 255 else np.int32
    given = {"rng": rng, "max_count": max_count, "family": "beta-binomial", "offset": -P[part]}
    return fb.posterior_step(COUNTS[part].astype(dtype), (LOGITS[part], 1 - LOGITS[part]), P[part], **given)


def binomial(part, rng, max_count):
    return [fb.binomial(COUNTS[part] * (max_count // 255), P[part, None, None, None], rng=rng)]


def poisson(part, rng, max_count):
    return [fb.poisson(np.exp(LOGITS[part]) * max_count / 255, rng=rng)]


def normal(part, rng, max_count):
    return [fb.normal(LOGITS[part], 0.5, rng=rng), fb.normal(LOGITS[part] * max_count, LOGITS[part] ** 2, rng=rng)]


def gamma(part, rng, max_count):
    return [fb.gamma(np.exp(LOGITS[part]) * 255 / max_count, P[part, None, None, None], rng=rng)]


def beta(part, rng, max_count):
    return [fb.beta(np.exp(LOGITS[part]), P[part, None, None, None] * 255 / max_count + 1e-3, rng=rng)]


def mixed(part, rng, max_count):
    counts, shapes = COUNTS[part] * (max_count // 255), np.exp(LOGITS[part])
    return [
        fb.beta_binomial(counts, shapes, 0.5, rng=rng),
        fb.negative_binomial(shapes, 9.0, rng=rng),
        fb.hypergeometric(counts, 100, 50, rng=rng),
        fb.bessel(counts, shapes, rng=rng),
        *fb.split(counts, 3, rng=rng),
        fb.multinomial(counts, np.array([0.2, 0.8]), rng=rng),
        fb.skellam(shapes, 9.0, rng=rng),
    ]


def birth_loss(part, rng, max_count):
    leaf = torch.from_numpy(LOGITS[part]).requires_grad_()
    loss = fb.birth_loss(leaf, torch.from_numpy(COUNTS[part]), P[part], gain=float(max_count))
    return [loss.detach(), *torch.autograd.grad(loss.sum(), leaf)]


def draw(part, rng, max_count):
    """Time indices: each rank gives the size of the global batch, and its own part of it."""
    own = rng.at(first_sample=rng.first_sample - FIRST)
    return [SCHEDULE.draw(part.stop - part.start, own, global_batch=BATCH)]


def parts(ranks):
    """As a sampler that spreads 256 over ranks would: 86, 85, 85 for three."""
    edges = [BATCH * rank // ranks for rank in range(ranks + 1)]
    return [slice(low, high) for low, high in zip(edges[:-1], edges[1:], strict=True)]


@pytest.mark.parametrize("max_count", [255, 4000])
@pytest.mark.parametrize(
    "call",
    [thin, bridge, tau_leap, law_step, binomial, poisson, normal, gamma, beta, mixed, birth_loss, draw],
    ids=lambda c: c.__name__,
)
def test_any_number_of_ranks_gives_the_same_bytes(call, max_count, backend):
    whole = [bits(result) for result in call(slice(0, BATCH), RNG, max_count)]
    for ranks in (1, 2, 3, 8):
        pieces = [
            [bits(result) for result in call(part, RNG.at(first_sample=FIRST + part.start), max_count)]
            for part in parts(ranks)
        ]
        for number, (dtype, shape, together) in enumerate(whole):
            joined = [piece[number] for piece in pieces]
            assert b"".join(data for _, _, data in joined) == together, f"{ranks} ranks, output {number}"
            assert {kind for kind, _, _ in joined} == {dtype} and sum(size[0] for _, size, _ in joined) == shape[0]


@pytest.mark.parametrize("call", [thin, bridge, tau_leap, law_step, binomial, poisson, normal, gamma, beta, mixed])
def test_without_first_sample_ranks_would_repeat_each_other(call):
    """The check above can fail: ranks that keep the same first_sample do not give the bytes of the whole."""
    whole = bits(call(slice(0, BATCH), RNG, 255)[0])[2]
    assert b"".join(bits(call(part, RNG, 255)[0])[2] for part in parts(2)) != whole


@pytest.mark.parametrize("op", STATES)
def test_ranks_of_the_ops_between_states(op, backend):
    check_ranks(op, "auto", "cpu", (BATCH, *SHAPE))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("schedule", ["forward", "random"])
def test_simt_ranks(op, schedule):
    most = 15 if op == "transition_rows" else 100  # of it a sample is a matrix
    check_ranks(op, f"simt-{schedule}", "cpu", (BATCH, *SHAPE), most)
