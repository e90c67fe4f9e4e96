"""Every op gives the same bits on the reference and on every instruction set, with one thread and two.

The cases cover every pair of shape, memory layout, dtype, declared maximum and option, and run through 20 keys. Outputs
lie in memory full of a pattern: an element that is not written, and a byte written beside the output, both show.
"""

import itertools

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.backends import available
from fastblackout.reference.portfloat import round_to_bfloat16
from support.arrays import LAYOUTS, NUMPY_ONLY, Poisoned, as_library, lay, same, storage
from support.helpers import BACKENDS, KEYS, pairwise, using

# The last two are large enough to be spread over threads.
SHAPES = [
    (), (0,), (1,), (7,), (31,), (0, 4), (3, 0, 2), (5, 31), (2, 1025), (3, 2, 1, 5, 2), (2, 1, 28, 28), (3, 3, 32, 32),
    (1, 3, 257, 129), (2, 40_000),
]  # fmt: skip
COUNTS = ["uint8", "int16", "int32", "int64"]
FLOATS = ["float32", "float64", "bfloat16", "float16"]
MAXIMA = [255, 1, 16, 256, 100_000]
PROBS = (0.37, 0.0, 1.0, 0.5, 1e-12, 1 - 1e-12, 5e-324, 0.93, 1e-3, 0.04)


def cases(seed, **factors):
    """Pairwise cases as parameters; the key goes round the 20 keys."""
    made = []
    for number, case in enumerate(pairwise(seed, shape=SHAPES, layout=LAYOUTS, **factors)):
        case["key"] = KEYS[number % len(KEYS)]
        case["random"] = np.random.default_rng([seed, number])
        brain = "bfloat16" in case.values()
        case["library"] = "torch" if brain or (number % 2 and case["layout"] not in NUMPY_ONLY) else "numpy"
        if brain and case["layout"] in NUMPY_ONLY:
            case["layout"] = "sliced"
        if "max_count" in case:
            case["max_count"] = min(case["max_count"], int(np.iinfo(case["dtype"]).max))
        name = "-".join(str(v).replace(" ", "") for k, v in case.items() if k not in ("key", "random"))
        made.append(pytest.param(case, id=f"{number}-{name}"))
    return made


def counts(case, high):
    values = np.asarray(case["random"].integers(0, high + 1, case["shape"]))
    values.ravel()[::5] = high
    values.ravel()[3::7] = 0
    return as_library(lay(values.astype(case["dtype"]), case["layout"]), case["library"])


def floats(case, dtype, scale=3.0, extremes=(), positive=False):
    values = np.asarray(case["random"].normal(0.0, scale, case["shape"]), np.float32)
    values = np.abs(values) if positive else values
    values.ravel()[: len(extremes)] = extremes[: values.size]
    stored = round_to_bfloat16(values) if dtype == "bfloat16" else values.astype(storage(dtype))
    return as_library(lay(stored, case["layout"]), case["library"], dtype)


def per_sample(case, choices):
    batch = case["shape"][0] if case["shape"] else 1
    start = int(case["random"].integers(len(choices)))
    return np.array([choices[(start + row) % len(choices)] for row in range(batch)], np.float64)


def outputs(case, result, names_and_dtypes):
    made = {
        name: Poisoned(case["shape"], dtype, case["layout"], case["library"])
        for name, dtype in names_and_dtypes.items()
        if name in case.get("outputs", names_and_dtypes)
    }
    return made, result(**{name: poisoned.value for name, poisoned in made.items()})


def check(case, call, result, dtypes):
    """call(out) on the reference, then on every instruction set, into poisoned outputs."""
    made, out = outputs(case, result, dtypes)
    with using("reference"):
        expected = call(out)
    copies = {name: np.array(poisoned.view) for name, poisoned in made.items()}
    for name, threads in ((n, 1 + (i + len(case["shape"])) % 2) for i, n in enumerate(BACKENDS[1:])):
        again, out = outputs(case, result, dtypes)
        with using(name, threads):
            got = call(out)
        same(got, expected, f"{name}, {threads} threads")
        for output, poisoned in again.items():
            assert poisoned.view.tobytes() == copies[output].tobytes(), f"{name}: out.{output} was not written"
            poisoned.check()


def asked(case):
    """Arguments that thin and the reverse steps take as the case has them."""
    return {"rng": case["key"], "max_count": case["max_count"], "input_dtype": case["input_dtype"]}


THINNED = [("x_t", "births", "model_input"), ("x_t",), ("births",), ("model_input",), ("x_t", "model_input")]


@pytest.mark.parametrize(
    "case",
    cases(1, dtype=COUNTS, max_count=MAXIMA, input_dtype=FLOATS, center=[0.0, "each", 1e38], outputs=THINNED),
)
def test_thin(case):
    x = counts(case, case["max_count"])
    p = per_sample(case, PROBS)
    center = per_sample(case, (3.3, -1e-20, 127.5)) if case["center"] == "each" else case["center"]

    def call(out):
        return fb.thin(x, fb.Prob(p, 1.0 - p), center=center, scale=0.7, out=out, **asked(case))

    dtypes = {"x_t": case["dtype"], "births": case["dtype"], "model_input": case["input_dtype"]}
    check(case, call, fb.Thinned, dtypes)


LOGITS = (-3e38, -1e4, -87.5, -86.5, 0.0, 20.0, 300.0, 3e38)
GAINS = [1.0, 0.0, "each", 1e-30, 3e38]


def expected_births(case):
    """logits or births of a reverse step, with its gain."""
    gain = per_sample(case, (0.3, 64.0, 7.5)) if case["gain"] == "each" else case["gain"]
    if case["given"] == "births":
        kind = case["logits"]
        return {"births": floats(case, kind, 40.0, (0.0, 0.5, 2.5, 6e4), positive=True), "gain": gain}
    limit = 6e4 if case["logits"] == "float16" else 3e38
    extremes = tuple(np.clip(LOGITS, -limit, limit))
    return {"logits": floats(case, case["logits"], extremes=extremes), "gain": gain}


REVERSE = {"dtype": COUNTS, "max_count": MAXIMA, "logits": FLOATS, "given": ["logits", "births"], "gain": GAINS}
REVERSE |= {"input_dtype": FLOATS, "outputs": [("x_s", "model_input"), ("x_s",), ("model_input",)]}


@pytest.mark.parametrize("case", cases(2, **REVERSE, rounding=["stochastic", "nearest"], attrition=[0.0, 1.0, "each"]))
def test_bridge(case):
    x = counts(case, case["max_count"])
    step = per_sample(case, PROBS)
    attrition = per_sample(case, (0.0, 0.2, 1e-9, 0.9)) if case["attrition"] == "each" else case["attrition"]
    given = expected_births(case)

    def call(out):
        more = asked(case) | {"rounding": case["rounding"], "attrition": attrition}
        return fb.bridge_step(x, step=step, center=0.5, scale=-2.0, out=out, **given, **more)

    check(case, call, fb.Stepped, {"x_s": case["dtype"], "model_input": case["input_dtype"]})


@pytest.mark.parametrize("case", cases(3, **REVERSE, factor=["each", 0.0, 1e9, 1e-12]))
def test_tau_leap(case):
    x = counts(case, case["max_count"])
    factor = per_sample(case, (0.05, 0.4, 1.0, 1.7)) if case["factor"] == "each" else case["factor"]
    given = expected_births(case)

    def call(out):
        return fb.tau_leap_step(x, step=factor, center=1.0, scale=0.25, out=out, **given, **asked(case))

    check(case, call, fb.Leaped, {"x_s": case["dtype"], "model_input": case["input_dtype"]})


@pytest.mark.parametrize(
    "case",
    [c for c in cases(4, dtype=COUNTS + FLOATS, logits=FLOATS, gain=[1.0, "each", 1e-30]) if c.values[0]["shape"]],
)
def test_birth_loss(case):
    case["library"] = "torch" if case["layout"] not in NUMPY_ONLY else "numpy"
    limit = 6e4 if case["logits"] == "float16" else 1e30
    logits = floats(case, case["logits"], extremes=tuple(np.clip(LOGITS, -limit, limit)))
    high = 1 if case["dtype"] in COUNTS else 0
    births = counts(case, 100) if high else floats(case, case["dtype"], 40.0, positive=True)
    gain = per_sample(case, (0.3, 64.0, 7.5)) if case["gain"] == "each" else case["gain"]
    weight = per_sample(case, (0.0, -1.5, 1e-3, 700.0, 1e30))
    tensor = isinstance(logits, torch.Tensor)

    def call():
        if tensor:
            leaf = logits.detach().requires_grad_()
            loss = fb.birth_loss(leaf, births, weight, gain=gain)
            upstream = torch.linspace(-2.0, 3.0, len(loss))
            (grad,) = torch.autograd.grad(loss, leaf, upstream)
            return fb.Thinned(loss.detach(), grad)
        return fb.Thinned(fb.birth_loss(logits, births, weight, gain=gain))

    with using("reference"):
        expected = call()
    for name, threads in itertools.product(BACKENDS[1:], (1, 2) if np.prod(case["shape"]) > 60_000 else (1,)):
        with using(name, threads):
            same(call(), expected, f"{name}, {threads} threads")


def compare(call):
    with using("reference"):
        expected = fb.Thinned(call())
    for name, threads in itertools.product(BACKENDS[1:], (1, 2)):
        with using(name, threads):
            same(fb.Thinned(call()), expected, f"{name}, {threads} threads")


@pytest.mark.parametrize(
    "case",
    cases(
        5,
        dtype=[*COUNTS, "float32", "float64"],
        high=[1, 20, 120, 10**9],
        prob=[*FLOATS, "pair"],
        spread=["one", "each"],
    ),
)
def test_binomial(case):
    high = case["high"]
    high = min(high, int(np.iinfo(case["dtype"]).max)) if case["dtype"] in COUNTS else min(high, 1 << 24)
    count = counts(case, high)
    p = case["random"].random(case["shape"] if case["spread"] == "each" else case["shape"][1:])
    p = np.asarray(np.where(p < 0.5, (2 * p) ** 12, p), np.float64)
    p.ravel()[: len(PROBS)] = PROBS[: p.size]
    dtype = "float64" if case["prob"] == "pair" else case["prob"]
    stored = round_to_bfloat16(p.astype(np.float32)) if dtype == "bfloat16" else p.astype(storage(dtype))
    prob = as_library(lay(stored, case["layout"]), case["library"], dtype)
    compare(lambda: fb.binomial(count, fb.Prob(prob, 1.0 - prob) if case["prob"] == "pair" else prob, rng=case["key"]))


@pytest.mark.parametrize("case", cases(6, rate=FLOATS, scale=[1.0, 30.0, 1e4]))
def test_poisson(case):
    rate = floats(case, case["rate"], case["scale"], (0.0, 10.0, 9.999, 6e4), positive=True)
    compare(lambda: fb.poisson(rate, rng=case["key"]))
    if case["rate"] == "float64":
        compare(lambda: fb.poisson(rate * 1e10, rng=case["key"]))


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_do_not_change_a_draw(threads):
    x = np.random.default_rng(0).integers(0, 256, (9, 3, 70, 70), dtype=np.uint8)
    with using(BACKENDS[-1], 1):
        expected = fb.thin(x, 0.4, rng=KEYS[12])
    with using(BACKENDS[-1], threads):
        same(fb.thin(x, 0.4, rng=KEYS[12]), expected)


def test_the_cover_is_what_it_says():
    assert len(KEYS) == len(set(KEYS)) == 20
    some = pairwise(0, a=[1, 2, 3], b=[4, 5], c=[6, 7, 8])
    assert {(c["a"], c["c"]) for c in some} == set(itertools.product([1, 2, 3], [6, 7, 8])) and len(some) < 18
    made = Poisoned((3, 4), "int32", "sliced", "numpy")
    made.buffer[5] = 0
    with pytest.raises(AssertionError, match="outside"):
        made.check()


@pytest.mark.parametrize("max_count", [1, 2, 15, 16, 17, 31, 47, 100, 127, 128, 200, 239, 240, 254])
def test_every_declared_limit_with_many_probabilities(max_count):
    """What a kernel keeps of one probability must not show in the next: several in one call, by one thread."""
    x_0 = np.random.default_rng(max_count).integers(0, max_count + 1, (24, 700)).astype(np.uint8)
    alive = np.concatenate([np.linspace(0.02, 0.98, 12), np.geomspace(1e-6, 0.5, 12)])[
        [*range(0, 24, 2), *range(1, 24, 2)]
    ]
    key = fb.Philox(2**63 + 1, first_sample=5)
    expected = fb.thin(x_0, alive, rng=key, max_count=max_count, outputs="x_t", backend="reference").x_t
    for isa in available.load("_cpu").isas():
        with fb.use_backend("cpu", isa=isa, threads=1):
            drawn = fb.thin(x_0, alive, rng=key, max_count=max_count, outputs="x_t").x_t
        assert np.array_equal(drawn, expected), isa


def test_what_is_kept_of_one_key_does_not_show_in_the_next():
    """A thread keeps rounds of Philox that samples share; then come more elements, another seed, call or op."""
    x_0 = np.random.default_rng(4).integers(0, 256, (2, 70_000), dtype=np.uint8)
    draws = [(5, 3, 100), (5, 3, 1_000), (5, 3, 5_000), (6, 3, 5_000), (5, 3, 65_536), (5, 3, 70_000)]
    draws += [(5 + 2**32, 3, 65_000), (5, 4, 65_000), (5, 3, 100)]  # seed, call, elements
    p = np.array([0.3, 0.6])
    ops = (
        lambda x, key: fb.thin(x, p, rng=key, outputs="x_t").x_t,
        lambda x, key: fb.bridge_step(x, births=255.0 - x, step=p, attrition=0.2, rng=key, outputs="x_s").x_s,
    )
    for op, (seed, call, elements) in itertools.product(ops, draws):
        x, key = x_0[:, :elements], fb.Philox(seed, call=call)
        with fb.use_backend("reference"):
            expected = op(x, key)
        for isa in available.load("_cpu").isas():
            with fb.use_backend("cpu", isa=isa, threads=1):
                assert np.array_equal(op(x, key), expected), (isa, op, seed, call, elements)


@pytest.mark.parametrize("p", [1.5e-6, 3e-5, 0.03, 0.1, 0.135, 0.2, 0.5, 0.9, 0.97])
def test_what_the_quick_searches_miss(p):
    """Enough counts for uniforms on both sides of the windows of AVX-512, some hundred, and for ties, some thousand."""
    x_0 = np.random.default_rng(8).integers(0, 256, 1_000_000, dtype=np.uint8)[None]
    expected = fb.thin(x_0, p, rng=fb.Philox(3), outputs="x_t", backend="reference").x_t
    for isa in available.load("_cpu").isas():
        with fb.use_backend("cpu", isa=isa):
            assert np.array_equal(fb.thin(x_0, p, rng=fb.Philox(3), outputs="x_t").x_t, expected), isa
