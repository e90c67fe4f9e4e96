"""The Triton kernels compile ahead of time for NVIDIA and AMD GPUs, within budgets, and specialise on no key or size.

No GPU is needed: support/triton_aot_worker.py runs kernel.warmup with a stub driver in a process without the
interpreter. Every kernel is compiled, with strided tensors, odd sizes, attrition and wide counts, and at night with
every dtype of every argument, of which a day has a part. Each target has a process, of minutes, and as many run at
once as there are cores.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastblackout.reference import gamma, normal, portfloat
from support import ROOT, draws
from support.subprocesses import report_of
from support.today import NIGHT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # as report_of has it below: each target takes minutes

# Registers on every NVIDIA target, the most over dtypes and layouts; no spills anywhere. 64 as for CUDA cannot be had:
# the eight elements a Philox pair serves stay in one lane from the words on, with a 64-bit address for each of their
# loads, and a limit (maxnreg) spills. Of the shared-p ops, thin_kernel with uint8 takes 80.
REGISTERS = {
    "table_kernel": 64, "thin_kernel": 152, "bridge_kernel": 184, "tau_leap_kernel": 96, "birth_loss_kernel": 80,
    "add_chunks_kernel": 32, "birth_loss_grad_kernel": 64, "categorical_kernel": 72, "categorical_table_kernel": 80,
    "build_table_kernel": 64,
    "categorical_bridge_kernel": 80, "transition_rows_kernel": 128, "log_prob_kernel": 80,
    "energy_squares_kernel": 72, "energy_norms_kernel": 40, "energy_factors_kernel": 40, "energy_grad_kernel": 80,
    "posterior_loss_kernel": 128, "posterior_grad_kernel": 168, "posterior_step_kernel": 120,
    "bayes_loss_kernel": 192, "bayes_grad_kernel": 232, "bayes_step_kernel": 200, "sum_losses_kernel": 32,
    "negative_binomial_loss_kernel": 104, "negative_binomial_grad_kernel": 96, "negative_binomial_step_kernel": 112,
    **{f"{op}_kernel": draw.REGISTERS for op, draw in draws.DRAWS.items()},
}  # fmt: skip
KERNELS = set(REGISTERS)
SCALAR_SPILLS = 40  # of AMD's some hundred scalar registers, to lanes of vector registers: memory has none of them
# SASS instructions an element, a lane taking 8: all of the loop but its inner ones (the rare ties). Building the
# thresholds, table_kernel's launch, is counted apart.
PER_ELEMENT = {"thin": 64, "bridge bfloat16": 190, "birth_loss": 118}
GRADIENT = 114
COUNTS, FLOATS = {"uint8", "int16", "int32", "int64"}, {"float32", "bfloat16", "float16", "float64"}
_STEP = {"x_t": COUNTS, "logits": FLOATS, "births": COUNTS | FLOATS, "x_s": COUNTS, "model_input": FLOATS}
_WIDE = COUNTS - {"uint8"}
# The dtypes that the ops take, by kernel and argument.
DTYPES = {
    "thin_kernel": {"x_0": COUNTS, "x_t": COUNTS, "births": COUNTS, "model_input": FLOATS},
    "thin_kernel wide": {"x_0": _WIDE, "x_t": _WIDE, "births": _WIDE},
    "bridge_kernel": _STEP,
    "bridge_kernel wide": {"x_t": _WIDE, "x_s": _WIDE},
    "tau_leap_kernel": _STEP,
    "birth_loss_kernel": {"logits": FLOATS, "births": COUNTS | FLOATS},
    "birth_loss_grad_kernel": {"logits": FLOATS, "births": COUNTS | FLOATS, "grad": FLOATS},
    "energy_squares_kernel": {"x_t": COUNTS, "logits": FLOATS, "births": COUNTS | FLOATS},
    "energy_grad_kernel": {"x_t": COUNTS, "logits": FLOATS, "births": COUNTS | FLOATS, "grad": FLOATS},
    "posterior_loss_kernel": {"x_t": COUNTS, "head_0": FLOATS, "head_1": FLOATS, "births": COUNTS | FLOATS},
    "posterior_step_kernel": {"x_t": COUNTS, "head_0": FLOATS, "head_1": FLOATS, "x_s": COUNTS, "model_input": FLOATS},
    "posterior_grad_kernel": {
        **{"x_t": COUNTS, "births": COUNTS | FLOATS},
        **dict.fromkeys(("head_0", "head_1", "grad_0", "grad_1"), FLOATS),
    },
    "bayes_loss_kernel": {"x_t": COUNTS, "mean_0": FLOATS, "wide_0": FLOATS, "births": COUNTS | FLOATS},
    "bayes_grad_kernel": {"x_t": COUNTS, "mean_0": FLOATS, "births": COUNTS | FLOATS, "to_mean_0": FLOATS},
    "bayes_step_kernel": {
        "x_t": COUNTS,
        "mean_0": FLOATS,
        "wide_0": FLOATS,
        "x_s": COUNTS,
        "model_input": FLOATS,
    },
    "negative_binomial_loss_kernel": {"x_t": COUNTS, "head_0": FLOATS, "head_1": FLOATS, "births": COUNTS | FLOATS},
    "negative_binomial_grad_kernel": {"x_t": COUNTS, "head_0": FLOATS, "births": COUNTS | FLOATS, "grad_1": FLOATS},
    "negative_binomial_step_kernel": {"x_t": COUNTS, "head_0": FLOATS, "x_s": COUNTS, "model_input": FLOATS},
    "categorical_kernel": {"state": COUNTS, "probs": {"float32", "float64"}, "index": {"int64"}, "out": COUNTS},
    "categorical_table_kernel": {"state": COUNTS, "index": {"int64"}, "out": COUNTS},
    "categorical_bridge_kernel": {"x_t": COUNTS, "x_0": COUNTS, "weights": FLOATS, "index": {"int64"}, "x_s": COUNTS},
    "log_prob_kernel": {"x": COUNTS, "a": COUNTS, "b": COUNTS},
}
DTYPES |= {
    f"{op}_kernel": {name: {*kinds} & (COUNTS | FLOATS) for name, kinds in draws.dtypes(op).items()}
    for op in draws.DRAWS
}
RUNS = {"90": ("constants", "keys")}
# Each target takes minutes: .ci/nightly compiles for the older one, the newer two and for AMD, too.
OTHERS = ("80", "100", "120") if NIGHT else ()
RUNS |= {target: () for target in (*OTHERS, "gfx942") if NIGHT}


def compiled(tmp_path, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("FASTBLACKOUT_", "TRITON_"))}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path / "cache"), "AOT_CASES": "all" if NIGHT else "some"}
    return report_of("triton_aot_worker", *arguments, folder=tmp_path, environment=environment, timeout=1700)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What the worker prints for each of RUNS, as futures."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            target: pool.submit(compiled, tmp_path_factory.mktemp(target), target, *run) for target, run in RUNS.items()
        }
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def hopper(runs):
    return runs["90"].result()["kernels"]


def check_kernels(report):
    """None is missing, and at night no dtype of an argument either."""
    assert {fact["kernel"].removesuffix(" wide") for fact in report} == KERNELS
    for kernel, arguments in DTYPES.items() if NIGHT else ():
        for name, dtypes in arguments.items():
            seen = {fact["dtypes"].get(name) for fact in report if fact["kernel"] == kernel}
            assert dtypes <= seen, f"{kernel}: {name}: never compiled with {', '.join(sorted(dtypes - seen))}"


def check_cuda(report):
    check_kernels(report)
    for fact in report:
        assert fact["stack"] == 0, fact
        assert fact["registers"] <= REGISTERS[fact["kernel"].removesuffix(" wide")], fact
        assert fact["inexact"] == [], f"contraction, flushing or approximation in PTX: {fact}"
        if fact["case"] in ("thin", "bridge bfloat16") and fact["kernel"] != "table_kernel":
            assert fact["float_fma"] == 0, fact  # elsewhere correctly rounded divisions and roots are made of them
        if fact["case"] in PER_ELEMENT and fact["kernel"] != "table_kernel":
            assert 0 < fact["hot"] / 8 <= 1.15 * PER_ELEMENT[fact["case"]], fact


def test_hopper_budgets(hopper):
    check_cuda(hopper)
    counted = {fact["case"]: fact for fact in hopper if "hot" in fact and fact["kernel"] != "table_kernel"}
    for case, budget in PER_ELEMENT.items():
        assert counted[case]["hot"] / 8 <= budget, counted[case]
    grad = counted["birth_loss_grad"]
    assert grad["sass"] / 8 <= GRADIENT, grad  # no loop


def test_bfloat16_rounds_to_nearest_even(hopper):
    """The interpreter rounds by hand (kernels/draw.py), so the compiled conversion is looked at."""
    made = [fact for fact in hopper if "bfloat16" in map(fact["dtypes"].get, ("model_input", "grad"))]
    assert len(made) >= (8 if NIGHT else 1) and all(fact["ptx_bfloat16"] for fact in made)


def test_constants_keep_all_their_bits(hopper):
    """Also float64 ones, which must not pass through float32. Signs aside: a - c b may stand for a + (-c) b."""
    used = {constant for fact in hopper for constant in fact["constants"]}
    doubles = [c for name in ("_LOG", "EXP", "STIRLING", "_DIGAMMA", "DEVIANCE") for c in getattr(portfloat, name)]
    doubles += portfloat._STIRLING_TABLE.tolist()
    doubles += [0.9189385332046728, 0.6931471803691238, 1.9082149292705877e-10, 1.4426950408889634]
    doubles += [-0.0873, 0.0248, 0.92, 4.2, 2.83, 5.1, 1.15, 2.53]  # binomial
    doubles += [-0.059, 0.02483, 1.1339, 1.1328, 0.9077, 3.6224, 0.07]  # poisson
    doubles += [c for part in (normal._CENTRE, normal._NEAR, normal._FAR) for side in part for c in side]
    doubles += [0.180625, 2.0**-32, 2.0**-64, 1.6]  # normal
    doubles += [*gamma._SERIES, 1.28, 1 / 3, 2 / 3]
    doubles += [1e-300, 1e300, 0.1, 1e-9, 1e-4, 1.0001]  # compared with
    for constant in doubles:
        assert used & {f"0d{np.float64(c).view(np.uint64):016X}" for c in (constant, -constant)}, constant
    polynomials = ("_EXP_FLOAT", "_LOG1P_OVER", "_LOG_FLOAT")
    singles = [c for name in polynomials for c in getattr(portfloat, name)]
    for constant in [*singles, 1.44269502, 0.693145752, 1.42860517e-6, 0.693147182]:
        assert used & {f"0f{np.float32(c).view(np.uint32):08X}" for c in (constant, -constant)}, constant


@pytest.mark.parametrize("target", OTHERS)
def test_other_cuda_targets(runs, target):
    check_cuda(runs[target].result()["kernels"])


@pytest.mark.skipif(not NIGHT, reason="for nights (.ci/nightly): a target takes minutes")
def test_amd(runs):
    report = runs["gfx942"].result()["kernels"]
    check_kernels(report)
    for fact in report:
        most = 256 if fact["kernel"].startswith("bayes") else 128  # of three components in registers
        if (draw := draws.DRAWS.get(fact["kernel"].removesuffix("_kernel"))) is not None:
            most = max(most, draw.REGISTERS)
        assert fact["spills"] == fact["stack"] == 0 and fact["registers"] <= most, fact
        assert fact["scalar_spills"] <= SCALAR_SPILLS, fact
        assert fact["denormals"] == 3, "float32 subnormals must be kept"
        assert fact["fma"] == 5 * fact["divisions"], f"more fused operations than divisions are made of: {fact}"


def test_the_page_states_the_budgets():
    page = " ".join((ROOT / "docs" / "performance-notes.md").read_text().split())
    assert ", ".join(f"`{name}` {most}" for name, most in REGISTERS.items()) in page
    thin, bridge, loss = PER_ELEMENT.values()
    assert f"{thin} for `thin`, {bridge} for `bridge` with bfloat16, {loss} for `birth_loss`, {GRADIENT} for" in page


def test_keys_and_sizes_do_not_specialise(runs):
    """Seeds 0, 1, 16, 2^63, call numbers, sizes 1, 16, 17, ... and limits meet one kernel (categorical_bridge: one for
    each draw; birth_loss: one for whole samples, one for chunks)."""
    two = dict.fromkeys(("birth_loss_kernel", "categorical_bridge_kernel"), 2)
    assert runs["90"].result()["kinds"] == dict.fromkeys(KERNELS | {"thin_kernel wide", "bridge_kernel wide"}, 1) | two
