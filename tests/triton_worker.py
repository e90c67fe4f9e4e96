"""Runs one group of cases through the Triton interpreter and compares each with the CPU ops; started by test_triton.py.

A process of its own, since TRITON_INTERPRET must be set before triton is imported, and interpreted and compiled kernels
do not mix in one. Prints one JSON line: {"cases": number, "failures": [text, ...]}.
"""

import importlib.util
import json
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
import torch

import fastblackout as fb
from fastblackout.backends import triton as backend
from fastblackout.reference.portfloat import round_to_bfloat16


def load(name):
    """A helper module of this folder."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


helpers = load("helpers")

LAYOUTS = ("contiguous", "channels_last", "transposed", "sliced", "inner", "expanded")
COUNTS = ["uint8", "int16", "int32"]
FLOATS = ["float32", "bfloat16", "float16"]
SHAPES = [(), (1,), (7,), (31,), (3, 0, 2), (2, 1, 28, 28), (3, 3, 32, 32), (3, 2, 1, 5, 2)]
PROBS = (0.37, 0.0, 1.0, 0.5, 1e-12, 1 - 1e-12, 5e-324, 0.93, 1e-3)
LOGITS = (-6e4, -1e4, -87.5, -86.5, 0.0, 20.0, 300.0, 6e4)


def key_of(rng):
    seed = rng.seed - (1 << 64) if rng.seed >> 63 else rng.seed
    return torch.tensor([seed, rng.first_sample, rng.call])


def cases(seed, shapes=SHAPES, **factors):
    for number, case in enumerate(helpers.pairwise(seed, shape=shapes, layout=LAYOUTS, **factors)):
        key = helpers.KEYS[number % len(helpers.KEYS)]
        yield {**case, "key": key, "random": np.random.default_rng([seed, number])}


def counts(case, dtype, high):
    high = min(high, np.iinfo(dtype).max)
    values = np.asarray(case["random"].integers(0, high + 1, case["shape"]))
    values.ravel()[::5] = high
    values.ravel()[3::7] = 0
    return helpers.as_library(helpers.lay(values.astype(dtype), case["layout"]), "torch")


def floats(case, dtype, scale=3.0, extremes=(), positive=False):
    values = np.asarray(case["random"].normal(0.0, scale, case["shape"]), np.float32)
    values = np.abs(values) if positive else values
    values.ravel()[: len(extremes)] = extremes[: values.size]
    bits = round_to_bfloat16(values) if dtype == "bfloat16" else values.astype(dtype)
    return helpers.as_library(helpers.lay(bits, case["layout"]), "torch", dtype)


def per_sample(case, choices, dtype=torch.float64):
    batch = case["shape"][0] if case["shape"] else 1
    start = int(case["random"].integers(len(choices)))
    return torch.tensor([choices[(start + row) % len(choices)] for row in range(batch)], dtype=dtype)


def flag():
    return torch.zeros(1, dtype=torch.int32)


def check(outputs, expected, flags, wanted_flags=0):
    """outputs: {name: Poisoned}."""
    for name, made in outputs.items():
        got, want = helpers.bits(made.value), helpers.bits(getattr(expected, name))
        assert got == want, f"{name}: {helpers.first_difference(made.value, getattr(expected, name))}"
        made.check()
    assert int(flags) == wanted_flags, f"flag {int(flags)}"


def made(case, **dtypes):
    asked = case.get("outputs", tuple(dtypes))
    return {n: helpers.Poisoned(case["shape"], d, case["layout"], "torch") for n, d in dtypes.items() if n in asked}


def value(outputs, name):
    return outputs[name].value if name in outputs else None


def thin_cases():
    subsets = [("x_t", "births", "model_input"), ("x_t",), ("births", "model_input")]
    factors = {"dtype": [*COUNTS, "int64"], "max_count": [255, 1, 20, 256, 100_000], "inputs": [*FLOATS, "float64"]}
    return [*cases(1, **factors, outputs=subsets), *cases(11, [(1, 3, 257, 129)], dtype=["uint8"], inputs=["bfloat16"])]


def thin(case):
    limit = min(case.get("max_count", 255), np.iinfo(case["dtype"]).max)
    x, p, flags = counts(case, case["dtype"], limit), per_sample(case, PROBS), flag()
    if int(case["random"].integers(3)) == 0 and p.shape[0] > 1:
        p = p[:1].expand(p.shape[0])  # one table for all samples
    center, scale = per_sample(case, (3.3, -1e-20, 127.5), torch.float32), per_sample(case, (0.7, -2.0), torch.float32)
    outputs = made(case, x_t=case["dtype"], births=case["dtype"], model_input=case["inputs"])
    backend.thin(x, p, 1 - p, key_of(case["key"]), limit, center, scale, *(
        value(outputs, name) for name in ("x_t", "births", "model_input")), flags)  # fmt: skip
    expected = fb.thin(
        x, fb.Prob(p, 1 - p), rng=case["key"], max_count=limit, center=center.double(), scale=scale.double(),
        input_dtype=case["inputs"],
    )  # fmt: skip
    check(outputs, expected, flags)


REVERSE = {
    "dtype": COUNTS,
    "max_count": [255, 1, 20, 256, 100_000],
    "logits": [*FLOATS, "float64"],
    "given": ["logits", "births"],
    "inputs": FLOATS,
    "outputs": [("x_s", "model_input"), ("x_s",), ("model_input",)],
}


def bridge_cases():
    return list(cases(2, **REVERSE, stochastic=[True, False], attrition=[False, True]))


def tau_leap_cases():
    return list(cases(3, **REVERSE))


def reverse(case):
    limit = min(case["max_count"], np.iinfo(case["dtype"]).max)
    x, gain = counts(case, case["dtype"], limit), per_sample(case, (0.3, 64.0, 7.5, 0.0), torch.float32)
    if case["given"] == "births":
        net, born = None, floats(case, case["logits"], 40.0, (0.0, 0.5, 2.5, 6e4), positive=True)
    else:
        net, born = floats(case, case["logits"], extremes=LOGITS), None
    outputs = made(case, x_s=case["dtype"], model_input=case["inputs"])
    center, scale = per_sample(case, (0.5, 100.0), torch.float32), per_sample(case, (-2.0, 0.01), torch.float32)
    given = {
        "logits": net, "births": born, "rng": case["key"], "max_count": limit, "gain": gain.double(),
        "center": center.double(), "scale": scale.double(), "input_dtype": case["inputs"],
    }  # fmt: skip
    return x, net, born, limit, gain, center, scale, outputs, given


def bridge(case):
    x, net, born, limit, gain, center, scale, outputs, given = reverse(case)
    p, sigma, flags = per_sample(case, PROBS), per_sample(case, (0.0, 0.2, 1e-9, 0.9)), flag()
    pair = (sigma, 1 - sigma) if case["attrition"] else (None, None)
    backend.bridge(
        x, net, born, p, 1 - p, *pair, key_of(case["key"]), limit, gain, case["stochastic"], center, scale,
        value(outputs, "x_s"), value(outputs, "model_input"), flags,
    )  # fmt: skip
    expected = fb.bridge_step(
        x, step=fb.Prob(p, 1 - p), attrition=fb.Prob(*pair) if case["attrition"] else 0.0,
        rounding="stochastic" if case["stochastic"] else "nearest", **given,
    )  # fmt: skip
    check(outputs, expected, flags)


def tau_leap(case):
    x, net, born, limit, gain, center, scale, outputs, given = reverse(case)
    factor, flags = per_sample(case, (0.05, 0.4, 1.7, 0.0, 1e9)), flag()
    overshoot = torch.full(factor.shape, -1)
    backend.tau_leap(
        x, net, born, factor, key_of(case["key"]), limit, gain, center, scale, value(outputs, "x_s"),
        value(outputs, "model_input"), overshoot, flags,
    )  # fmt: skip
    expected = fb.tau_leap_step(x, step=factor, **given)
    check(outputs, expected, flags)
    assert torch.equal(overshoot, expected.overshoot), (overshoot, expected.overshoot)


def birth_loss_cases():
    shapes = [shape for shape in SHAPES if shape] + [(2, 1025), (2, 5000)]
    return list(cases(4, shapes, dtype=[*COUNTS, *FLOATS], logits=[*FLOATS, "float64"], gain=[1.0, 64.0, 1e-30]))


def birth_loss(case):
    logits, flags = floats(case, case["logits"], extremes=LOGITS), flag()
    born = counts(case, case["dtype"], 100) if case["dtype"] in COUNTS else floats(
        case, case["dtype"], 40.0, positive=True)  # fmt: skip
    gain, weight = per_sample(case, (case["gain"], 1.0), torch.float32), per_sample(case, (0.0, -1.5, 1e-3, 700.0))
    loss = torch.full(weight.shape, 7.0)
    backend.birth_loss(logits, born, weight, gain, loss, flags)
    leaf = logits.detach().requires_grad_()
    expected = fb.birth_loss(leaf, born, weight, gain=gain.double())
    assert helpers.bits(loss) == helpers.bits(expected), (loss, expected)
    upstream = torch.linspace(-2.0, 3.0, len(loss))
    outputs = made(case, grad=case["logits"])
    backend.birth_loss_grad(logits, born, upstream.double() * weight, gain, outputs["grad"].value, flags)
    (grad,) = torch.autograd.grad(expected, leaf, upstream)
    check(outputs, results(grad=grad), flags)


def results(**values):
    return type("Values", (), values)


def element_cases():
    """binomial and poisson."""
    kinds = {"dtype": [*COUNTS, "int64", "float32", "float64"], "prob": ["float64", "float32", "bfloat16", "pair"]}
    first = cases(5, **kinds, high=[1, 20, 120, 10**6])
    return [*first, *cases(6, rate=["float64", *FLOATS], scale=[1.0, 30.0, 1e4], shape_only=[True])]


def element(case):
    flags = flag()
    if "rate" in case:
        rate = floats(case, case["rate"], case["scale"], (0.0, 10.0, 9.999, 6e4), positive=True)
        expected = fb.poisson(rate, rng=case["key"])
        outputs = made(case, out=str(expected.dtype).removeprefix("torch."))
        backend.poisson(rate, key_of(case["key"]), outputs["out"].value, flags)
    else:
        kind = case["dtype"] if case["dtype"] in ("float32", "float64") else None
        count = counts(case, kind and "int64" or case["dtype"], case["high"])
        count = count.to(getattr(torch, kind)) if kind else count
        prob = case["prob"] if case["prob"] != "pair" else "float64"
        p = floats(case, prob, 1.0, (0.0, 1.0, 0.5, 1e-6, 1.0 - 2.0**-8), positive=True)
        p = torch.where(p > 1, 1 / p, p).to(p.dtype).clamp(max=1)
        q = 1 - p if case["prob"] == "pair" else None
        expected = fb.binomial(count, p if q is None else fb.Prob(p, q), rng=case["key"])
        outputs = made(case, out=case["dtype"])
        backend.binomial(count, p, q, key_of(case["key"]), outputs["out"].value, flags)
    check(outputs, results(out=expected), flags)


def run(group):
    states = load("triton_states")
    if group == "single":
        todo = [(test.__name__, test) for test in (*load("triton_single").SINGLE, *states.SINGLE)]
    else:
        functions = vars(states) if group in states.GROUPS else globals()
        check_case = functions[group]
        todo = [
            (f"{number} {case}", lambda case=case: check_case(case))
            for number, case in enumerate(functions[f"{group}_cases"]())
        ]
    failures = []
    for name, call in todo:
        try:
            call()
        except Exception as error:  # reported below, with the case; the other cases still run
            last = traceback.format_exc().strip().splitlines()[-3:]
            failures.append(f"{name}: {type(error).__name__}: {error} | {' | '.join(last)}"[:1500])
    return {"cases": len(todo), "failures": failures}


if __name__ == "__main__":
    sys.modules["triton_worker"] = sys.modules["__main__"]  # for triton_single
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # NumPy's, of the overflows that GPUs do not mention
    assert backend.INTERPRETED
    print(json.dumps(run(sys.argv[1])))
