"""Single tests of the Triton kernels in the interpreter: Philox's known answers, the portable floats, batch splits,
ties of the rounding, and what wrong values do.

test_triton.py runs them in a process of its own: TRITON_INTERPRET must be set before triton is imported, and
interpreted and compiled kernels do not mix in one process.
"""

import importlib
import itertools
from unittest import mock

import numpy as np
import torch
import triton
import triton.language as tl

import fastblackout as fb
from fastblackout.backends import triton as backend
from fastblackout.ground import persistent
from fastblackout.reference import portfloat as reference_portfloat
from fastblackout.reference.philox import Stream, philox4x32
from support import gpu_checks, product
from support.draws import DRAWS
from support.known_answers import PHILOX, words_of
from support.op_table import OPS, PLAIN
from support.today import NIGHT, of_today
from support.triton_cases import flag

launch = importlib.import_module("fastblackout.kernels.launch")
philox = importlib.import_module("fastblackout.kernels.draw").philox
pf = importlib.import_module("fastblackout.kernels.portfloat")
table = importlib.import_module("fastblackout.kernels.table")


@triton.jit
def _words(c0, c1, c2, c3, k0, k1, out, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x0, x1 = tl.load(c0 + i).to(tl.uint32), tl.load(c1 + i).to(tl.uint32)
    x2, x3 = tl.load(c2 + i).to(tl.uint32), tl.load(c3 + i).to(tl.uint32)
    r0, r1, r2, r3 = philox(x0, x1, x2, x3, tl.load(k0 + i).to(tl.uint32), tl.load(k1 + i).to(tl.uint32))
    tl.store(out + 4 * i, r0.to(tl.int64))
    tl.store(out + 4 * i + 1, r1.to(tl.int64))
    tl.store(out + 4 * i + 2, r2.to(tl.int64))
    tl.store(out + 4 * i + 3, r3.to(tl.int64))


def known_answers(device="cpu"):
    answers = [words_of(answer) for answer in (PHILOX * 64)[:64]]
    columns = torch.tensor([counter + key for counter, key, _ in answers], device=device).T.contiguous()
    out = torch.empty(64, 4, dtype=torch.int64, device=device)
    _words[(1,)](*columns, out, BLOCK=64)
    assert out.tolist() == [list(result) for _, _, result in answers]


@triton.jit
def _single(x, out, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + i)
    tl.store(out + 3 * i, pf.softplus(v))
    tl.store(out + 3 * i + 1, pf.log_softplus(v))
    tl.store(out + 3 * i + 2, pf.softplus_over_sigmoid(v))


@triton.jit
def _double(x, out, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + i)
    size = tl.abs(v) + 2.2250738585072014e-308
    whole = (size + 1.0).to(tl.int64).to(tl.float64)
    tl.store(out + 5 * i, pf.log(size))
    tl.store(out + 5 * i + 1, pf.log1p(size - 0.5))
    tl.store(out + 5 * i + 2, pf.exp(v))
    tl.store(out + 5 * i + 3, pf.stirling_correction(whole))
    tl.store(out + 5 * i + 4, pf.deviance(whole, size, whole - size))


def portable_floats():
    random = np.random.default_rng(7)
    x = np.concatenate([random.normal(0, s, 8192) for s in (1, 30, 1e-9, 1e30)]).astype(np.float32)
    x[:8] = (0.0, -0.0, 86.98, -86.98, -86.99, 3.4e38, -3.4e38, 2.0**-60)
    out = np.empty((x.size, 3), np.float32)
    _single[(4,)](torch.from_numpy(x), torch.from_numpy(out), BLOCK=8192)
    for column, name in enumerate(("softplus", "log_softplus", "softplus_over_sigmoid")):
        with np.errstate(all="ignore"):
            expected = getattr(reference_portfloat, name)(x)
        assert (out[:, column].view(np.int32) == expected.view(np.int32)).all(), name
    y = np.concatenate([random.normal(0, s, 8192) for s in (1, 30, 1e5, 1e9)])
    out = np.empty((y.size, 5))
    _double[(4,)](torch.from_numpy(y), torch.from_numpy(out), BLOCK=8192)
    size = np.abs(y) + 2.2250738585072014e-308
    whole = np.floor(size + 1.0)
    r, rest = reference_portfloat, whole - size
    expected = (r.log(size), r.log1p(size - 0.5), r.exp(y), r.stirling_correction(whole), r.deviance(whole, size, rest))
    for column, values in enumerate(expected):
        assert (out[:, column].view(np.int64) == values.view(np.int64)).all(), f"float64 function {column}"


def batch_split():
    """A batch over ranks, and over several tables in turn, gives what it gives at once.

    A program is a sample: 256 of every op take minutes, and have them at night; else nine, the fewest that eight ranks
    share unevenly, of two ops more, and counts to 15, whose tables are made in less time.
    """
    for op in OPS:
        batch = 256 if NIGHT else 24 if op in ("thin", "bridge_step") else 9
        with mock.patch.object(table, "ROWS_AT_ONCE", 5):  # of these two, whose samples have tables
            gpu_checks.check_ranks(op, "triton", "cpu", (batch, 5, 7), 100 if NIGHT else 15)


def rounding_ties():
    """Expected births whose 32 leading bits equal the uniform's, so that its last 16 bits decide."""
    calls = np.arange(1 << 14)
    words = np.stack(philox4x32(np.arange(16)[:, None], 0, calls[None, :], Stream.ROUNDING.word(), 5, 0))
    which = np.argwhere(words < 1 << 15)  # so that float32 holds 9 bits more
    seen = set()
    for word, block, call in which[:24]:
        i, call = int(4 * block + word), int(call)
        y = torch.full((1, 64), 0.25)
        y[0, i] = float((int(words[word, block, call]) + 0.5) * 2.0**-32)
        assert int(float(y[0, i]) * 2.0**32) == words[word, block, call]
        x, rng, flags = torch.zeros(1, 64, dtype=torch.uint8), fb.Philox(5, call=call), flag()
        p, one, out = torch.ones(1, dtype=torch.float64), torch.ones(1), torch.empty_like(x)
        backend.bridge_step(x, None, y, p, 1 - p, None, None, rng.tensor(), 255, one, True, one, one, out, None, flags)
        expected = fb.bridge_step(x, births=y, step=1.0, rng=rng).x_s
        assert torch.equal(out, expected)
        seen.add(int(out[0, i]))
    assert seen == {0, 1}, "both outcomes of a tie must occur; missing by chance once in 8 million"


def flags():
    """Wrong values set their bit and give what the values they are taken for give."""
    nan, inf = float("nan"), float("inf")
    one, key = torch.ones(1), fb.Philox(3).tensor()

    def p_of(*values):
        return torch.tensor(values, dtype=torch.float64)

    def thinned(x, p, q, max_count):
        out, bits = torch.empty_like(x), flag()
        backend.thin(x, p, q, key, max_count, one, one, out, None, None, bits)
        return out.tolist(), int(bits)

    x = torch.arange(-50, 150, dtype=torch.int16)[None]
    for max_count in (100, 1000):
        clean = thinned(x.clamp(0, max_count), p_of(0.4), p_of(0.6), max_count)
        assert clean[1] == 0 and thinned(x, p_of(0.4), p_of(0.6), max_count) == (clean[0], 1)
        low = x.clamp(min=0, max=max_count)
        for p, q, taken in (
            (nan, nan, 0.0), (1.5, -0.5, 1.0), (-0.1, 1.1, 0.0), (0.4, nan, 0.4), (0.5, 0.4999, 0.5), (0.7, 0.7, 0.7),
            (0.25, 0.75 + 1.1e-9, 0.25),
        ):  # fmt: skip
            wanted = thinned(low, p_of(taken), p_of(1 - taken), max_count)[0], 8
            assert thinned(low, p_of(p), p_of(q), max_count) == wanted

    def stepped(kind, values, given, max_count=255):
        y, bits = torch.tensor([values]), flag()
        x = torch.full(y.shape, 5, dtype=torch.int32)
        out, born = torch.empty_like(x), (None, y) if given else (y, None)
        if kind == "bridge":
            backend.bridge_step(
                x, *born, p_of(1.0), p_of(0.0), None, None, key, max_count, one, False, one, one, out, None, bits
            )
        else:
            over = torch.zeros(1, dtype=torch.int64)
            backend.tau_leap_step(x, *born, p_of(1.0), key, max_count, one, one, one, out, None, over, bits)
        return out[0].tolist(), int(bits)

    for kind, max_count in itertools.product(("bridge", "tau_leap"), (255, 300)):
        assert stepped(kind, [nan, -inf, inf], False, max_count) == ([5, 5, max_count], 2)
        assert stepped(kind, [nan, -1.0, inf], True, max_count) == ([5, 5, max_count], 4)
        assert stepped(kind, [0.0, 0.0], True, max_count) == ([5, 5], 0)
    bits, loss = flag(), torch.empty(1)
    backend.birth_loss(torch.tensor([[nan, 1.0]]), torch.tensor([[1.0, -1.0]]), p_of(1.0), one, loss, bits)
    assert int(bits) == 6 and bool(loss.isnan())
    norms, draws = torch.empty(1, 3).double(), torch.zeros(2, 1, 2)
    for x, logit, born, shift, weight, told in (
        (10, 0.0, 1.0, 0.0, 1.0, 0), (11, 0.0, 1.0, 0.0, 1.0, 1), (-1, nan, -1.0, 0.0, 1.0, 7),
        (10, 0.0, 1.0, inf, 1.0, 16), (10, 0.0, 1.0, 0.0, nan, 16),
    ):  # fmt: skip
        bits, draws[1, 0, 0], births = flag(), logit, torch.tensor([[1.0, born]])
        given = torch.tensor([[3, x]]), draws, births, p_of(weight), torch.tensor([shift]), 10
        backend.energy_loss(*given, loss, norms, bits)
        assert int(bits) == told and (logit == logit or bool(loss.isnan())), (x, logit, born, shift, weight)
        backend.energy_loss_backward(*given, norms, torch.empty_like(draws), bits := flag())
        assert int(bits) == (0 if np.isnan(weight) else told), (x, logit, born, shift, weight)
    bits, out = flag(), torch.empty(1, 4, dtype=torch.float64)
    counts = torch.tensor([[nan, -3.0, 2.5, 7.0]], dtype=torch.float64)
    backend.binomial(counts, p_of(1, 1, 1, 1)[None], None, key, out, bits)
    assert (out.tolist(), int(bits)) == ([[0.0, 0.0, 2.0, 7.0]], 1)
    bits, out = flag(), torch.empty(1, 2)
    backend.binomial(torch.tensor([[2.0**24, 2.0**26]]), p_of(1, 1)[None], None, key, out, bits)
    assert (out.tolist(), int(bits)) == ([[2.0**24, 2.0**24]], 1), "float32 has gaps above 2^24"
    bits, out = flag(), torch.empty(1, 3, dtype=torch.int64)
    backend.poisson(p_of(nan, -1.0, 0.0)[None], key, out, bits)
    assert (out.tolist(), int(bits)) == ([[0, 0, 0]], 8)
    bits = torch.full((1,), 16, dtype=torch.int32)
    backend.poisson(p_of(nan)[None], key, out[:, :1], bits)
    assert int(bits) == 24, "bits are added, none is taken away"


def number_flags():
    """Pairs that do not sum to 1, wrong numbers of a sample and wrong words of a key, as on the CUDA kernels
    (tests/backends/test_simt_flags.py)."""
    nan, inf = float("nan"), float("inf")
    x, y, half = torch.full((2, 8), 10, dtype=torch.int32), torch.full((2, 8), 1.0), torch.full((2,), 0.5).double()
    off, right = torch.tensor([0.5, 0.4999]).double(), {"seed": 5, "first_sample": 2**32 - 2, "call": 2**32 - 1}

    def called(op, max_count, p=half, q=half, fall=None, **numbers):
        row = {name: torch.tensor([1.0, numbers.get(name, 1.0)]) for name in ("gain", "center", "scale", "weight")}
        key = torch.tensor([numbers.get(name, value) for name, value in right.items()])
        g, made, out, bits = row["gain"], (row["center"], row["scale"]), torch.empty_like(x), flag()
        if op == "thin":
            backend.thin(x, p, q, key, max_count, *made, out, None, None, bits)
        elif op == "bridge":
            pairs = (half, half, p, q) if fall else (p, q, None, None)
            backend.bridge_step(x, y, None, *pairs, key, max_count, g, True, *made, out, None, bits)
        elif op == "tau_leap":
            over = torch.zeros(2, dtype=torch.int64)
            backend.tau_leap_step(x, y, None, p, key, max_count, g, *made, out, None, over, bits)
        elif op == "binomial":
            backend.binomial(x, p[:, None].expand(x.shape), q[:, None].expand(x.shape), key, out, bits)
        elif op in DRAWS:
            made = product.public(op, a := product.arguments(op, PLAIN | {"shape": (2, 8)}), fb.Philox(1))
            OPS[op].kernel(backend, a, key, {"out": (out := made["out"])}, bits)
        elif op == "loss":
            long, out = torch.zeros(2, numbers["elements"]), torch.empty(2)
            backend.birth_loss(long, long + 1, row["weight"].double(), g, out, bits)
        elif op == "grad":
            out = torch.empty_like(y)
            backend.birth_loss_backward(y, y, row["weight"].double(), g, out, bits)
        elif op == "rows":
            out = torch.empty(2, 9, 9, dtype=torch.float64)
            backend.transition_rows(p, q, 9, out, bits)
        else:
            out = torch.empty(x.shape, dtype=torch.float64)
            backend.thin_log_prob(x // 2, x, p, q, out, bits)
        return out.tolist(), int(bits)

    thin, bridge = itertools.product(["thin"], (15, 999), [0]), itertools.product(["bridge"], (15, 999), (0, 1))
    for op, max_count, fall in (*thin, *bridge, ("binomial", 0, 0), ("rows", 0, 0), ("log_prob", 0, 0)):
        case = op, max_count, fall
        assert called(op, max_count, q=off, fall=fall) == (called(op, max_count, fall=fall)[0], 8), case
        assert called(op, max_count, q=half + 0.9e-9, fall=fall)[1] == 0, case
    keys = [("call", 2**32), ("call", -1), ("first_sample", 2**32 - 1), ("first_sample", -1)]
    state = [("gain", -1.0), ("gain", nan), ("gain", inf), ("center", nan), ("scale", inf)]
    for op, max_count in (("thin", 15), ("thin", 999), ("bridge", 15), ("bridge", 999), ("tau_leap", 999)):
        assert called(op, max_count, gain=0.0)[1] == 0
        for name, value in (*keys, *(state[3:] if op == "thin" else state)):
            assert called(op, max_count, **{name: value})[1] == 16, (op, max_count, name, value)
        assert op == "thin" or called(op, max_count, gain=nan)[0] == called(op, max_count, gain=0.0)[0]
    for op, (name, value) in itertools.product(of_today(tuple(DRAWS), 4), keys):
        assert called(op, 0, **{name: value})[1] == 16, (op, name, value)
    for elements in (40, 6000):  # a program a sample, and a program a chunk
        assert called("loss", 0, elements=elements)[1] == 0
        for name, value in (("gain", 0.0), ("gain", nan), ("gain", inf), ("weight", nan), ("weight", inf)):
            (one, other), bits = called("loss", 0, elements=elements, **{name: value})
            assert np.isfinite(one) and not np.isfinite(other) and bits == 16, (elements, name, value)
            assert name == "weight" or np.isnan(other)
    for value, bits in ((0.0, 16), (-1.0, 16), (nan, 16), (2.0, 0)):
        (one, other), seen = called("grad", 0, gain=value)
        assert seen == bits and np.isfinite(one).all() and np.isnan(other).all() == (bits == 16), value


def layouts():
    """What lies on a device of tensors that are not in C order: bounded in number, kept where a graph has used it."""
    cpu = torch.device("cpu")
    launch._layouts.clear()
    with torch.inference_mode():  # a state of this thread, as the memory of a CUDA graph is
        assert not launch._on_device("thin", [(4, 5, 6)], cpu).is_inference()
    is_capturing = persistent.is_capturing
    first = launch._on_device("thin", [(1, 2, 3)], cpu)
    assert first.tolist() == [[1, 2, 3]] and launch._on_device("thin", [(1, 2, 3)], cpu) is first
    launch.is_capturing = persistent.is_capturing = lambda device: True
    try:
        assert launch._on_device("thin", [(1, 2, 3)], cpu) is first
        launch._on_device("thin", [(7, 8, 9)], torch.device("cuda", 3))
    except ValueError as error:
        assert str(error) == (
            "thin: CUDA graph: a call with tensors of these strides must have run on cuda:3 before a capture, "
            "got sizes and strides [(7, 8, 9)]"
        )
    else:
        raise AssertionError("a layout was made within a capture")
    finally:
        launch.is_capturing = persistent.is_capturing = is_capturing
    for number in range(launch._MOST_LAYOUTS + 10):
        launch._on_device("thin", [(number, 0, 0)], cpu)
        second = launch._on_device("thin", [(5, 0, 0)], cpu)  # in use again and again
    assert len(launch._layouts) == launch._MOST_LAYOUTS and (cpu, (0, 0, 0)) not in launch._layouts
    for rows, kept in (([(1, 2, 3)], first), ([(5, 0, 0)], second)):
        assert launch._on_device("thin", rows, cpu) is kept
    launch._layouts.clear()


SINGLE = (known_answers, portable_floats, batch_split, rounding_ties, flags, number_flags, layouts)
