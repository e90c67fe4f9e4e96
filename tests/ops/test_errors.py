"""Wrong arguments of the ops: the type of the error, a text that names op, argument and value, and nothing written.

Every case runs on the reference and on every instruction set. Errors of training, files and the command line are tested
with those.
"""

import re

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.helpers import BACKENDS, using

RNG = fb.Philox(seed=51)
NAN, INF = float("nan"), float("inf")
HUGE = np.broadcast_to(np.uint8(0), (1, 2**32))
SHAPE = (2, 3)


def base(op):
    counts = np.arange(6, dtype=np.uint8).reshape(SHAPE)
    logits = np.linspace(-2, 2, 6, dtype=np.float32).reshape(SHAPE)
    if op == "thin":
        return {"x_0": counts, "alive": 0.5, "rng": RNG}
    if op in ("bridge_step", "tau_leap_step"):
        return {"x_t": counts, "logits": logits, "step": 0.5, "rng": RNG}
    if op == "birth_loss":
        return {"logits": logits, "births": counts, "weight": 1.0}
    if op == "normal":
        return {"mean": logits, "std": 0.5, "rng": RNG}
    return {"count": counts, "prob": 0.5, "rng": RNG} if op == "binomial" else {"rate": logits + 2, "rng": RNG}


RESULTS = {"thin": fb.Thinned, "bridge_step": fb.Stepped, "tau_leap_step": fb.Leaped}


def poisoned_out(op, arguments):
    """Outputs that fit, full of 123; an empty tuple where the op has none or the arguments are too wrong for any."""
    x = arguments.get("x_0" if op == "thin" else "x_t")
    if op not in RESULTS or "out" in arguments or not isinstance(x, np.ndarray) or x is HUGE:
        return ()
    if x.dtype.kind not in "iu":
        return ()
    made = [np.full(x.shape, 123, x.dtype) for _ in range(2 if op == "thin" else 1)]
    return RESULTS[op](*made, np.full(x.shape, 123, np.float32))


def one_bad(value, dtype):
    """A good array but for one element."""
    array = np.ones(SHAPE, dtype)
    array[1, 1] = value
    return array


def array(*shape, dtype=np.uint8):
    return np.ones(shape, dtype)


def every_step(changes, error, text):
    changes = {"x_t" if name == "x" else name: value for name, value in changes.items()}
    return [(op, changes, error, text) for op in ("bridge_step", "tau_leap_step")]


COMMON = [  # of thin and both steps; x stands for x_0 or x_t
    ({"x": array(2, 3, dtype=np.float16)}, TypeError, "x: dtype must be one of uint8, .*, got float16"),
    ({"x": array(2, 3, dtype=np.uint64)}, TypeError, "x: dtype .*, uint16, uint32, float32, float64, got uint64"),
    ({"x": array(2, 3, dtype=bool)}, TypeError, "x: dtype .*, got bool"),
    ({"x": array(2, 3, dtype=">i4")}, TypeError, "x: dtype .*, got >i4"),
    ({"x": [[1, 2, 3]]}, TypeError, "x: must be a NumPy array, .*, got list"),
    ({"x": None}, TypeError, "x: must be a NumPy array, .*, got NoneType"),
    ({"x": torch.ones(SHAPE, dtype=torch.uint8).to_sparse()}, TypeError, "x: must be a dense .*, got .*sparse_coo"),
    ({"x": one_bad(-1, np.int16), "max_count": 255}, ValueError, r"x: .*0\.\.255, got -1\b"),
    ({"x": one_bad(256, np.int32), "max_count": 255}, ValueError, r"x: .*0\.\.255, got 256\b"),
    ({"x": one_bad(17, np.uint8), "max_count": 16}, ValueError, r"x: .*0\.\.16, got 17\b"),
    ({"x": one_bad(1001, np.int64), "max_count": 1000}, ValueError, r"x: .*0\.\.1000, got 1001\b"),
    ({"x": one_bad(2**53 + 1, np.int64), "max_count": 2**53}, ValueError, "x: .*740992, got 9007199254740993"),
    (
        {"x": array(2, 3, dtype=np.int32)},
        ValueError,
        "max_count: must be given for int32 counts: the largest that may occur .*, got None",
    ),
    ({"max_count": -1}, ValueError, r"max_count: must be in 0\.\.255 for uint8 counts, got -1"),
    ({"max_count": 256}, ValueError, r"max_count: must be in 0\.\.255 for uint8 counts, got 256"),
    ({"x": array(2, 3, dtype=np.int64), "max_count": 2**53 + 1}, ValueError, r"max_count: .*, got 9007199254740993"),
    ({"max_count": 3.0}, TypeError, r"max_count: must be an integer, got 3\.0"),
    ({"max_count": True}, TypeError, "max_count: must be an integer, got True"),
    ({"outputs": "x_0"}, ValueError, "outputs: must be some of .*, got .*x_0"),
    ({"outputs": ()}, ValueError, r"outputs: must be some of .*, got \[\]"),
    ({"outputs": 5}, TypeError, "outputs: .*, got 5"),
    ({"outputs": None}, TypeError, "outputs: .*, got None"),
    ({"input_dtype": "int8"}, TypeError, "input_dtype: must be one of float32, .*, got 'int8'"),
    ({"input_dtype": np.int32}, TypeError, "input_dtype: must be one of float32, .*, got .*int32"),
    ({"input_dtype": 5}, TypeError, "input_dtype: must be one of float32, .*, got 5"),
    ({"input_dtype": "bfloat16"}, TypeError, "input_dtype: bfloat16 needs torch tensors"),
    ({"center": NAN}, ValueError, "center: must be finite, got nan"),
    ({"scale": np.array([1.0, INF])}, ValueError, "scale: must be finite, got inf"),
    ({"scale": 1e39}, ValueError, "scale: must be finite, got inf"),
    ({"center": np.zeros(3)}, ValueError, r"center: shape must be \(\), \(2,\) or .*, got \(3,\)"),
    ({"center": "0"}, TypeError, "center: must be a number or an array .*, got str"),
    ({"scale": 1j}, TypeError, "scale: must be a number or an array .*, got complex"),
    ({"scale": np.array([1j, 1])}, TypeError, "scale: must be real numbers, got dtype complex128"),
    ({"rng": 5}, TypeError, r"rng: must be a fastblackout\.Philox, got int"),
    ({"generator": torch.Generator()}, ValueError, "rng: must not be given together with generator"),
    ({"rng": None, "generator": 5}, TypeError, r"generator: must be a torch\.Generator, got int"),
    ({"rng": RNG.at(first_sample=2**32 - 1)}, ValueError, r"rng: first_sample \+ samples .*, got 4294967295 \+ 2"),
    ({"backend": "gpu"}, ValueError, "backend: must be one of auto, .*, got 'gpu'"),
    ({"out": array(2, 3)}, TypeError, "out: must have one of .*, got ndarray"),
]
PROBABILITIES = [  # of alive, step and attrition; p stands for the name
    ({"p": 1.5}, ValueError, r"p: must be in \[0, 1\], got 1\.5"),
    ({"p": -0.5}, ValueError, r"p: must be in \[0, 1\], got -0\.5"),
    ({"p": np.array([0.5, NAN])}, ValueError, r"p: must be in \[0, 1\], got nan"),
    ({"p": INF}, ValueError, r"p: must be in \[0, 1\], got inf"),
    ({"p": fb.Prob(0.5, 0.4)}, ValueError, r"p: p \+ q must be 1 .*, got p = 0\.5 and q = 0\.4"),
    ({"p": fb.Prob(0.5, NAN)}, ValueError, r"p\.q: must be in \[0, 1\], got nan"),
    ({"p": np.array([0.5])}, ValueError, r"p: shape must be \(\), \(2,\) or .*, got \(1,\)"),
    ({"p": np.array([[0.5, 0.5]])}, ValueError, r"p: shape must be .* broadcast to \(2, 3\), got \(1, 2\)"),
    ({"p": np.array([1.5, 0.5], np.float32)}, ValueError, r"p: must be in \[0, 1\], got 1\.5"),
    ({"p": fb.Prob(np.float32(0.1), np.float32(0.9))}, ValueError, r"p: p \+ q must be 1 .*, got p = 0\.1.*"),
    ({"p": torch.tensor([True, False])}, TypeError, r"p: must be real numbers, got dtype torch\.bool"),
    ({"p": "0.5"}, TypeError, r"p: must be a fb\.Prob, a number or an array or list of real numbers, got str"),
]
STEPS = [
    *every_step({"logits": one_bad(NAN, np.float32)}, ValueError, "logits: must be finite in float32, got nan"),
    *every_step({"logits": one_bad(INF, np.float16)}, ValueError, "logits: must be finite in float32, got inf"),
    *every_step({"logits": one_bad(-INF, np.float64)}, ValueError, "logits: must be finite in float32, got -inf"),
    *every_step({"logits": one_bad(1e39, np.float64)}, ValueError, "logits: must be finite in float32, got (inf|.*38)"),
    *every_step({"logits": array(2, 3, dtype=np.int32)}, TypeError, "logits: dtype must be one of .*, got int32"),
    *every_step({"logits": array(3, 2, dtype=np.float32)}, ValueError, r"logits: shape .*, \(2, 3\), got \(3, 2\)"),
    *every_step(
        {"x": torch.ones(SHAPE, dtype=torch.uint8), "logits": torch.ones(SHAPE, device="meta")},
        ValueError,
        "logits: must be on .*, got meta",
    ),
    *every_step({"logits": None}, TypeError, "logits: exactly one of logits and births must be given, got none"),
    *every_step({"births": array(2, 3)}, TypeError, "logits: exactly one .*, got both"),
    *every_step({"logits": None, "births": one_bad(-1, np.int32)}, ValueError, r"births: must be finite.*, got -1\b"),
    *every_step({"logits": None, "births": one_bad(NAN, np.float32)}, ValueError, "births: must be finite.*, got nan"),
    *every_step({"logits": None, "births": one_bad(INF, np.float16)}, ValueError, "births: must be finite.*, got inf"),
    *every_step({"logits": None, "births": one_bad(1e39, np.float64)}, ValueError, "births: .*finite.*, got [19]"),
    *every_step({"logits": None, "births": array(2, 4)}, ValueError, r"births: shape .*, got \(2, 4\)"),
    *every_step({"gain": -1.0}, ValueError, r"gain: must be finite and at least 0, got -1\.0"),
    *every_step({"gain": NAN}, ValueError, "gain: must be finite and at least 0, got nan"),
    *every_step({"gain": 1e39}, ValueError, "gain: must be finite and at least 0, got inf"),
    *every_step({"step": None}, TypeError, "step: must be given"),
    ("bridge_step", {"rounding": "up"}, ValueError, "rounding: must be one of stochastic, nearest, got 'up'"),
    ("tau_leap_step", {"step": -0.5}, ValueError, r"step: must be finite and at least 0, got -0\.5"),
    ("tau_leap_step", {"step": NAN}, ValueError, "step: must be finite and at least 0, got nan"),
    ("tau_leap_step", {"step": np.array([0.5, INF])}, ValueError, "step: must be finite and at least 0, got inf"),
    ("tau_leap_step", {"step": np.zeros(3)}, ValueError, r"step: shape .*, got \(3,\)"),
]
OTHERS = [
    ("thin", {"x_0": HUGE}, ValueError, r"x_0: elements per sample must be below 2\^32, got 4294967296"),
    ("birth_loss", {"logits": one_bad(NAN, np.float32)}, ValueError, "logits: must be finite in float32, got nan"),
    ("birth_loss", {"logits": one_bad(-INF, np.float16)}, ValueError, "logits: must be finite in float32, got -inf"),
    ("birth_loss", {"births": one_bad(NAN, np.float32)}, ValueError, "births: must be finite.*, got nan"),
    ("birth_loss", {"births": one_bad(-1, np.int64)}, ValueError, r"births: must be finite.*, got -1\b"),
    ("birth_loss", {"births": one_bad(INF, np.float16)}, ValueError, "births: must be finite.*, got inf"),
    ("birth_loss", {"births": array(2, 4)}, ValueError, r"births: shape must be .*, \(2, 3\), got \(2, 4\)"),
    ("birth_loss", {"logits": array(2, 3)}, TypeError, "logits: dtype must be one of float32, .*, got uint8"),
    ("birth_loss", {"logits": np.array(1.0), "births": np.array(1)}, ValueError, r"logits: .* batch dimension"),
    ("binomial", {"count": torch.ones(2), "prob": torch.ones(2, device="meta")}, ValueError, "prob: .*, got meta"),
    ("thin", {"alive": torch.ones(2, dtype=torch.float64, device="meta")}, ValueError, "alive: .* CPU, got .* meta"),
    ("thin", {"scale": torch.ones(2, device="meta")}, ValueError, "scale: must be on the CPU, got .* meta"),
    ("birth_loss", {"weight": NAN}, ValueError, "weight: must be finite, got nan"),
    ("birth_loss", {"weight": np.ones(5)}, ValueError, r"weight: shape must be \(\), \(2,\) .*, got \(5,\)"),
    ("birth_loss", {"gain": 0.0}, ValueError, r"gain: must be finite and above 0, got 0\.0"),
    ("birth_loss", {"gain": 1e-60}, ValueError, r"gain: must be finite and above 0, got 0\.0"),
    ("birth_loss", {"backend": "gpu"}, ValueError, "backend: must be one of auto, .*, got 'gpu'"),
    ("binomial", {"count": one_bad(-1, np.int32)}, ValueError, r"count: .*0\.\.9007199254740992, got -1\b"),
    ("binomial", {"count": one_bad(2**53 + 1, np.int64)}, ValueError, r"count: .*, got 9007199254740993"),
    ("binomial", {"count": 2**63}, ValueError, r"count: .*, got 9\.223"),
    ("binomial", {"count": one_bad(1.5, np.float32)}, ValueError, r"count: must be whole numbers .*, got 1\.5"),
    ("binomial", {"count": one_bad(NAN, np.float64)}, ValueError, "count: must be whole numbers .*, got nan"),
    ("binomial", {"count": one_bad(INF, np.float64)}, ValueError, "count: must be whole numbers .*, got inf"),
    ("binomial", {"count": [1]}, TypeError, "count: must be a NumPy array, .*, got list"),
    ("binomial", {"count": array(2, 3, dtype=np.float16)}, TypeError, "count: dtype .*, got float16"),
    ("binomial", {"prob": one_bad(NAN, np.float64)}, ValueError, r"prob: must be in \[0, 1\], got nan"),
    ("binomial", {"prob": one_bad(1.0000001, np.float32)}, ValueError, r"prob: must be in \[0, 1\], got 1\.00000"),
    ("binomial", {"prob": -1e-300}, ValueError, r"prob: must be in \[0, 1\], got -1"),
    ("binomial", {"prob": fb.Prob(0.5, 1.5)}, ValueError, r"prob.*: must be in \[0, 1\], got 1\.5"),
    ("binomial", {"prob": fb.Prob(0.5, 0.4)}, ValueError, r"prob: p \+ q must be 1 .*, got p = 0\.5 and q = 0\.4"),
    ("binomial", {"prob": fb.Prob(np.float32(0.5), 0.5)}, TypeError, r"prob\.p: dtype .* float64, got float32"),
    ("binomial", {"prob": np.ones(4)}, ValueError, r"count and prob: shapes must broadcast, got \(2, 3\) and \(4,\)"),
    ("binomial", {"prob": torch.ones(2, 3)}, TypeError, "(count|prob): must be a torch tensor .*, got ndarray"),
    ("poisson", {"rate": one_bad(-1, np.float32)}, ValueError, r"rate: must be finite and in .*, got -1\b"),
    ("poisson", {"rate": one_bad(NAN, np.float16)}, ValueError, "rate: must be finite and in .*, got nan"),
    ("poisson", {"rate": INF}, ValueError, "rate: must be finite and in .*, got inf"),
    ("poisson", {"rate": 2.0**52 + 1}, ValueError, "rate: must be finite and in .*, got 4503599627370497"),
    ("poisson", {"rate": array(2, 3)}, TypeError, "rate: dtype must be one of float64, .*, got uint8"),
    ("normal", {"mean": one_bad(NAN, np.float32)}, ValueError, "mean: must be finite, got nan"),
    ("normal", {"mean": one_bad(-INF, np.float64)}, ValueError, "mean: must be finite, got -inf"),
    (
        "normal",
        {"std": one_bad(-5e-324, np.float64)},
        ValueError,
        "std: must be finite and at least 0, got -4.94",
    ),
    ("normal", {"std": one_bad(INF, np.float32)}, ValueError, "std: must be finite and at least 0, got inf"),
    ("normal", {"std": NAN}, ValueError, "std: must be finite and at least 0, got nan"),
    ("normal", {"std": -1}, ValueError, r"std: must be finite and at least 0, got -1\b"),
    ("normal", {"mean": array(2, 3)}, TypeError, "mean: dtype must be one of float64, .*, got uint8"),
    ("normal", {"std": [1.0]}, TypeError, "std: must be a NumPy array, .*, got list"),
    ("normal", {"std": np.ones(4)}, ValueError, r"mean and std: shapes must broadcast, got \(2, 3\) and \(4,\)"),
]


def all_cases():
    for op, changes, error, text in STEPS + OTHERS:
        yield op, changes, error, text
    for op, name in (("thin", "x_0"), ("bridge_step", "x_t"), ("tau_leap_step", "x_t")):
        for changes, error, text in COMMON:
            yield op, {name if k == "x" else k: v for k, v in changes.items()}, error, re.sub("^x:", f"{name}:", text)
    for op, name in (("thin", "alive"), ("bridge_step", "step"), ("bridge_step", "attrition")):
        for changes, error, text in PROBABILITIES:
            yield op, {name: changes["p"]}, error, name + text.removeprefix("p")


CASES = [pytest.param(*case, id=f"{n}-{case[0]}-{'-'.join(case[1])}") for n, case in enumerate(all_cases())]


@pytest.mark.parametrize("op, changes, error, text", CASES)
def test_wrong_arguments(op, changes, error, text, backend):
    arguments = {**base(op), **changes}
    given = {k: v.copy() for k, v in arguments.items() if isinstance(v, np.ndarray) and v is not HUGE}
    out = poisoned_out(op, arguments)
    if out:
        arguments["out"] = out
    with pytest.raises(error, match=f"^{op}: {text}") as caught:
        getattr(fb, op)(**arguments)
    assert "\n" not in str(caught.value)
    assert all((value == 123).all() for value in out if value is not None), "an output was written"
    for name, before in given.items():
        assert np.array_equal(arguments[name], before, equal_nan=before.dtype.kind in "fc"), "an input was written"


def overlapping(case):
    x, f = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32)
    record = np.zeros((4, 4), [("a", "u1"), ("b", "f4")])["b"]
    window = np.lib.stride_tricks.as_strided(np.zeros(40, np.uint8), (4, 4), (1, 1))
    frozen = np.zeros((4, 4), np.float32)
    frozen.flags.writeable = False
    memory = np.zeros(68, np.uint8)
    x = memory[:16].reshape(4, 4) if case == "input by another" else x
    cases = {
        "input by another": ({"x_t": memory[1:17].reshape(4, 4)}, "x_t: must not overlap the input"),
        "input transposed": ({"x_t": x.T}, "x_t: must not overlap the input"),
        "births in place": ({"births": x}, "births: must not overlap the input"),
        "one another": (
            {"x_t": memory[20:36].reshape(4, 4), "births": memory[30:46].reshape(4, 4)},
            "births: must not overlap out.x_t",
        ),
        "itself": ({"x_t": window}, r"x_t: elements must not overlap, got strides \(1, 1\)"),
        "broadcast": ({"x_t": np.broadcast_to(np.zeros(4, np.uint8), (4, 4))}, "x_t: elements must not overlap"),
        "read-only": ({"model_input": frozen}, "model_input: must be writable, got a read-only array"),
        "record": ({"model_input": record}, "model_input: .*, got "),
        "shape": ({"x_t": np.zeros((4, 5), np.uint8)}, r"x_t: shape must be that of the input, \(4, 4\), got \(4, 5\)"),
    }
    return x, f, cases[case]


OVERLAPS = ["input by another", "input transposed", "births in place", "one another", "itself", "broadcast"]


@pytest.mark.parametrize("case", [*OVERLAPS, "read-only", "record", "shape"])
def test_wrong_outputs_of_thin(case, backend):
    x, _, (out, text) = overlapping(case)
    with pytest.raises((ValueError, TypeError), match=f"^thin: out.{text}"):
        fb.thin(x, 0.5, rng=RNG, out=fb.Thinned(**out))
    assert all((value == 0).all() for value in out.values())


def test_wrong_kinds_of_outputs(backend):
    x = np.zeros(SHAPE, np.uint8)
    for out, text in (
        (fb.Thinned(np.zeros(SHAPE, np.int16)), "out.x_t: dtype must be uint8, got int16"),
        (fb.Thinned(model_input=np.zeros(SHAPE)), "out.model_input: dtype must be float32, got float64"),
        (fb.Thinned(torch.zeros(SHAPE, dtype=torch.uint8)), "out.x_t: must be of the library of the input, got Tensor"),
        (fb.Thinned([[0, 0, 0]]), "out.x_t: must be a NumPy array, .*, got list"),
    ):
        with pytest.raises(TypeError, match=f"^thin: {text}"):
            fb.thin(x, 0.5, rng=RNG, out=out)


@pytest.mark.parametrize("name", ["logits", "births"])
def test_outputs_of_a_step_must_not_lie_on_what_it_reads(name, backend):
    values = np.ones((300, 300), np.float32)
    for op, result in ((fb.bridge_step, fb.Stepped), (fb.tau_leap_step, fb.Leaped)):
        with pytest.raises(ValueError, match=f"^{op.__name__}: out.model_input: must not overlap {name}"):
            op(np.zeros_like(values, np.uint8), step=0.5, **{name: values}, rng=RNG, out=result(model_input=values.T))
    assert (values == 1).all()


@pytest.mark.parametrize("name", BACKENDS[1:])
def test_the_first_wrong_element_is_named_whatever_the_threads(name):
    x = np.ones((3, 70_000), np.int32)
    x[1, 66_000], x[2, 5] = 300, 400
    out = fb.Thinned(*(np.full(x.shape, 123, v) for v in ("int32", "int32", "float32")))
    for threads in (1, 2):
        with using(name, threads), pytest.raises(ValueError, match="got 300 at sample 1, element 66000$"):
            fb.thin(x, 0.5, rng=RNG, max_count=255, out=out)
    assert all((v == 123).all() for v in out)
