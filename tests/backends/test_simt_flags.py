"""Wrong values on the CUDA kernels (run on the CPU by csrc/simt): a defined result and bits of a flag, no exception.

That every op tells of those in its row of the table: flags() in support/device_worker.py.
"""

import itertools
from functools import partial

import pytest
import torch

import fastblackout as fb
from fastblackout.backends import cuda
from support import gpu_checks, product
from support.arrays import bits
from support.op_posterior import NO_MORE, STEP_CASES, step_arguments
from support.op_table import OPS, PLAIN
from support.simt import _simt, new_flag

COUNTS = ["uint8", "int16", "int32", "int64"]


@pytest.fixture(autouse=True)
def built():
    _simt.configure("forward", 0, 1)


@pytest.mark.parametrize("elements", [64, 67])  # 16 bytes an access, and element by element
@pytest.mark.parametrize("counts", COUNTS)
def test_wrong_values_set_the_flag_and_are_clamped(counts, elements):
    shape, rng, zero, one = (1, elements), fb.Philox(1), torch.zeros(1), torch.ones(1)

    def thin(values, p, max_count=100):
        flag, out = new_flag(), torch.empty(shape, dtype=getattr(torch, counts))
        prob = torch.tensor([p], dtype=torch.float64)
        cuda.thin(values, prob, 1 - prob, rng.tensor(), max_count, zero, one, out, None, None, flag, module=_simt)
        return out, flag.item()

    right = torch.full(shape, 100, dtype=getattr(torch, counts))
    wrong = right.clone()
    wrong[0, 3] = 2**32 + 5 if counts == "int64" else 120
    for values, p, expected_flag, expected in [
        (right, 1.0, 0, right),
        (wrong, 1.0, 1, right),
        (right, 1.5, 8, right),
        (right, -1.0, 8, right * 0),
        (wrong, float("nan"), 9, right * 0),
    ]:
        out, flag = thin(values, p)
        assert flag == expected_flag
        assert bits(out) == bits(expected)


# p, q, and whether q is taken for 1 - p; the bound is 1e-9.
PAIRS = [
    (0.5, 0.4999, 1), (0.5, 0.0, 1), (0.3, 0.3, 1), (0.999, 0.0, 1), (0.25, 0.75 + 2e-9, 1), (0.9, 0.1 - 1.1e-9, 1),
    (1e-12, 0.9, 1), (0.0, 0.0, 1), (1.0, 1.0, 1), (0.25, 0.75 + 0.9e-9, 0), (0.5, 0.5 - 0.9e-9, 0),
    (1e-12, 1 - 0.9e-9, 0), (0.9, 0.1 + 0.9e-9, 0), (1.0, 0.9e-9, 0),
]  # fmt: skip


def pair_calls(one):
    """{case: call(p, q, out, flag)} of everything that takes a pair; `one`: the number 1 a sample."""
    x, half, rng = torch.full((1, 700), 200, dtype=torch.int32), one.double() * 0.5, fb.Philox(4).tensor()
    y, zero = torch.full(x.shape, 5.0), one * 0

    def thin(p, q, out, flag, max_count=255):
        cuda.thin(x, p, q, rng, max_count, zero, one, out, None, None, flag, module=_simt)

    def bridge(p, q, out, flag, max_count=255, fall=False):
        pairs = (half, half, p, q) if fall else (p, q, None, None)
        cuda.bridge_step(x, None, y, *pairs, rng, max_count, one, True, zero, one, out, None, flag, module=_simt)

    def binomial(p, q, out, flag):
        cuda.binomial(x, p.expand(x.shape), q.expand(x.shape), rng, out, flag, module=_simt)

    def rows(p, q, out, flag):
        cuda.transition_rows(p, q, out.shape[1], out, flag, module=_simt)

    def log_prob(p, q, out, flag):
        cuda.thin_log_prob(x // 2, x, p, q, out, flag, module=_simt)

    counts, floats = torch.empty_like(x), torch.empty(x.shape, dtype=torch.float64)
    fall = partial(bridge, fall=True)
    calls = {"thin": (thin, counts), "bridge": (bridge, counts), "attrition": (fall, counts)}
    calls |= {f"{name} wide": (partial(call, max_count=1000), out) for name, (call, out) in calls.items()}
    calls |= {"binomial": (binomial, counts), "log_prob": (log_prob, floats)}
    return calls | {"transition_rows": (rows, torch.empty(1, 9, 9, dtype=torch.float64))}


@pytest.mark.parametrize("name", pair_calls(torch.ones(1)))
def test_p_and_q_that_do_not_sum_to_1(name):
    call, out = pair_calls(torch.ones(1))[name]
    for p, q, wrong in PAIRS:
        made = []
        for other in (q, 1 - p if wrong else q):
            flag = new_flag()
            call(torch.tensor([p], dtype=torch.float64), torch.tensor([other], dtype=torch.float64), out, flag)
            made.append((bits(out), flag.item()))
        assert made == [(made[1][0], 8 * wrong), (made[1][0], 0)], (p, q)


NAN, INF = float("nan"), float("inf")
NUMBERS = [
    ("gain", -1.0), ("gain", NAN), ("gain", INF), ("center", NAN), ("center", -INF), ("scale", INF), ("scale", NAN),
    ("first_sample", -1), ("first_sample", 2**32 - 2), ("call", 2**32), ("call", -1),
]  # fmt: skip


@pytest.mark.parametrize("max_count", [255, 1000])
@pytest.mark.parametrize("op", ["thin", "bridge", "attrition", "tau_leap"])
def test_wrong_numbers_of_a_sample(op, max_count):
    """The last of three samples has them; integers come from the number that it is taken for."""
    x, y, p = torch.full((3, 40), 20, dtype=torch.int32), torch.full((3, 40), 1.0), torch.full((3,), 0.5).double()
    expected = None
    for name, value in [("gain", 0.0), ("call", 2**32 - 1), ("first_sample", 2**32 - 3), *NUMBERS]:
        rows = {name: torch.ones(3) for name in ("gain", "center", "scale")}
        key = {"seed": 5, "first_sample": 2**32 - 3, "call": 2**32 - 1}
        if name in rows:
            rows[name][2] = value
        else:
            key[name] = value
        g, c, s, key = rows["gain"], rows["center"], rows["scale"], torch.tensor(list(key.values()))
        out, flag = torch.empty_like(x), new_flag()
        made = (c, s, out, None, None) if op == "thin" else (c, s, out, None)
        if op == "thin":
            cuda.thin(x, p, p, key, max_count, *made, flag, module=_simt)
        elif op == "tau_leap":
            cuda.tau_leap_step(x, y, None, p, key, max_count, g, *made, torch.zeros(3).long(), flag, module=_simt)
        else:
            fall = (p, p) if op == "attrition" else (None, None)
            cuda.bridge_step(x, y, None, p, p, *fall, key, max_count, g, True, *made, flag, module=_simt)
        wrong = (name, value) in NUMBERS and (op, name) != ("thin", "gain")
        assert flag.item() == 16 * wrong, (name, value)
        if name == "gain" and op != "thin" and value != INF:  # births nothing, as 0 does
            expected = out if expected is None else expected
            assert torch.equal(out, expected)


def launched(op, a, key, made):
    """What the kernels make of the arguments, and the flag."""
    out, flag = {name: torch.zeros_like(value) for name, value in made.items()}, new_flag()
    OPS[op].kernel(product.kernels_of("simt-forward"), a, key, out, flag)
    return {name: bits(value) for name, value in out.items()}, flag.item()


KEYED = [(op, {}) for op in OPS if gpu_checks.draws_by_key(op)]
KEYED += [("categorical", more) for more in ({"table": 1}, {"max_count": 600})]


@pytest.mark.parametrize("op, more", KEYED, ids=str)
def test_wrong_words_of_a_key(op, more):
    """What is too large counts modulo 2^32."""
    a = product.arguments(op, PLAIN | {"shape": (3, 5)} | more)
    made = product.public(op, a, fb.Philox(7))
    right = launched(op, a, torch.tensor([7, 2**32 - 3, 3]), made)
    assert right[1] == 0
    for words in ((2**33 - 3, 3), (-3, 3), (2**32 - 3, 2**32 + 3), (2**32 - 3, 3 - 2**32)):
        assert launched(op, a, torch.tensor([7, *words]), made) == (right[0], 16), words
    assert launched(op, a, torch.tensor([7, 2**32 - 2, 3]), made)[1] == 16  # of the last sample


@pytest.mark.parametrize("max_count", [255, 1000])
def test_wrong_logits_and_births_set_the_flag(max_count):
    shape, rng, zero, one = (1, 32), fb.Philox(1), torch.zeros(1), torch.ones(1)
    x, half = torch.full(shape, 10, dtype=torch.int32), torch.tensor([1.0], dtype=torch.float64)

    def step(**network):
        flag, x_s, key = new_flag(), torch.empty_like(x), rng.tensor()
        given = network.get("logits"), network.get("births")
        cuda.bridge_step(
            x, *given, half, 1 - half, None, None, key, max_count, one, False, zero, one, x_s, None, flag, module=_simt
        )
        return x_s[0, 0].item(), flag.item()

    for value, expected in [(float("nan"), (10, 2)), (float("inf"), (max_count, 2)), (-200.0, (10, 0)), (4.0, (14, 0))]:
        logits = torch.zeros(shape)
        logits[0, 0] = value
        assert step(logits=logits) == expected
    for value, expected in [(float("nan"), (10, 4)), (-1.0, (10, 4)), (float("inf"), (max_count, 4)), (3.0, (13, 0))]:
        births = torch.zeros(shape)
        births[0, 0] = value
        assert step(births=births) == expected


def test_wrong_values_of_losses_and_of_counts_in_floats():
    one, rng = torch.ones(1), fb.Philox(2)
    for logit, born, expected in [(0.0, 1.0, 0), (NAN, 1.0, 2), (0.0, -1.0, 4), (INF, NAN, 6)]:
        logits, births, loss, flag = torch.zeros(1, 40), torch.zeros(1, 40), torch.zeros(1), new_flag()
        logits[0, 39], births[0, 39] = logit, born
        cuda.birth_loss(logits, births, one.double(), one, loss, flag, module=_simt)
        assert flag.item() == expected
    for elements, (gain, weight) in itertools.product(
        (40, 3000), [(1.0, 2.0), (0.0, 1), (-1, 1), (NAN, 1), (INF, 1), (1, NAN), (1, -INF)]
    ):
        logits, loss, flag = torch.zeros(2, elements), torch.zeros(2), new_flag()
        gains, weights = torch.tensor([1.0, gain]), torch.tensor([1.0, weight], dtype=torch.float64)
        cuda.birth_loss(logits, logits + 1, weights, gains, loss, flag, module=_simt)
        right = (gain, weight) == (1.0, 2.0)
        assert flag.item() == (0 if right else 16) and loss[0].isfinite() and loss[1].isfinite() == right
        assert gain == 1.0 or loss[1].isnan()
        grad, flag = torch.zeros_like(logits), new_flag()
        cuda.birth_loss_backward(logits, logits + 1, weights, gains, grad, flag, module=_simt)
        assert flag.item() == (0 if gain == 1.0 else 16) and grad[0].isfinite().all()
        assert gain == 1.0 or grad[1].isnan().all()
    for x, logit, born, offset, weight, expected in [
        (10, 0.0, 1.0, 0.0, 1.0, 0), (11, 0.0, 1.0, 0.0, 1.0, 1), (-1, NAN, 1.0, 0.0, 1.0, 3),
        (10, INF, -1.0, 0.0, 1.0, 6), (10, 0.0, NAN, 0.0, 1.0, 4), (10, 0.0, 1.0, NAN, 1.0, 16),
        (10, 0.0, 1.0, 0.0, INF, 16),
    ]:  # fmt: skip
        draws, births, norms, flag = (
            torch.zeros(2, 1, 3000),
            torch.ones(1, 3000),
            torch.zeros(1, 3).double(),
            new_flag(),
        )
        counts, shift, weights = torch.full((1, 3000), 10), torch.tensor([offset]), torch.tensor([weight]).double()
        counts[0, -1], draws[1, 0, -1], births[0, -1] = x, logit, born
        cuda.energy_loss(counts, draws, births, weights, shift, 10, loss[:1], norms, flag, module=_simt)
        assert flag.item() == expected and (logit == logit or loss[0].isnan())
        flag = new_flag()
        grad = torch.empty_like(draws)
        cuda.energy_loss_backward(counts, draws, births, weights, shift, 10, norms, grad, flag, module=_simt)
        assert flag.item() == (expected if weight == 1.0 else 0)
    for x, logit, born, offset, weight, expected in [
        (10, 0.0, 0.0, 0.0, 1.0, 0), (11, 0.0, 0.0, 0.0, 1.0, 1), (-1, NAN, 1.0, 0.0, 1.0, 3),
        (9, INF, -1.0, 0.0, 1.0, 6), (9, 0.0, 2.0, 0.0, 1.0, 4), (9, 0.0, 0.5, 0.0, 1.0, 4),
        (9, 0.0, NAN, 0.0, 1.0, 4), (10, 0.0, 0.0, NAN, 1.0, 16), (10, 0.0, 0.0, 0.0, INF, 16),
    ]:  # fmt: skip
        counts, births, head = torch.full((1, 3000), 9), torch.ones(1, 3000), torch.zeros(2, 1, 3000)
        counts[0, -1], births[0, -1], head[1, 0, -1] = x, born, logit
        for family in (0, 1, 2):
            numbers, flag = (torch.tensor([weight]).double(), torch.tensor([offset]), 10), new_flag()
            given = counts, family, *head, *NO_MORE, births, *numbers
            cuda.posterior_loss(*given, loss[:1], flag, module=_simt)
            assert flag.item() == expected and (expected & 18 or loss[0].isfinite())
            grads = *torch.empty_like(head), *NO_MORE
            cuda.posterior_loss_backward(*given, *grads, flag := new_flag(), module=_simt)
            assert flag.item() == (expected if weight == 1.0 else 0)
    for count, p, expected in [(3.0, 0.5, 0), (3.5, 0.5, 1), (-1.0, 0.5, 1), (3.0, 1.5, 8), (NAN, NAN, 9)]:
        out, flag = torch.empty(1, 1, dtype=torch.float64), new_flag()
        n, prob = torch.full((1, 1), count, dtype=torch.float64), torch.full((1, 1), p, dtype=torch.float64)
        cuda.binomial(n, prob, None, rng.tensor(), out, flag, module=_simt)
        assert flag.item() == expected
        assert 0 <= out.item() <= 3
    out, flag = torch.empty(1, 2), new_flag()
    cuda.binomial(torch.tensor([[2.0**24, 2.0**26]]), torch.ones(1, 2), None, rng.tensor(), out, flag, module=_simt)
    assert flag.item() == 1 and out.tolist() == [[2.0**24, 2.0**24]], "float32 has gaps above 2^24"


@pytest.mark.parametrize("family", [0, 1, 2])
@pytest.mark.parametrize("case", STEP_CASES)
def test_flags_of_a_step_by_a_law(case, family):
    x, head, numbers, expected = step_arguments(*case)
    flag, x_s = new_flag(), torch.full_like(x, 99)
    given = x, family, *head, *NO_MORE, *numbers, 10, *torch.ones(2, 1)
    cuda.posterior_step(*given, x_s, None, flag, module=_simt)
    assert flag.item() == expected and x_s.min() >= 0 and x_s.max() <= 10
