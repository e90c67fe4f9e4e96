"""reference = scalar = AVX2 = AVX-512 = SIMT shim (three schedules) = Triton's interpreter, to the bit, floats too.

In tests/support, op_table.py has the ops and their factors (shapes, layouts, dtypes, 20 keys, options) and product.py
the comparison. A run takes every sixth case of a pairwise cover of the factors, others each day;
FASTBLACKOUT_PRODUCT=cover takes them all, and full, every combination, is for nights (.ci/nightly).
"""

import itertools
import math
import os

import pytest

from support import product
from support.op_table import COMMON, OPS, PLAIN
from support.subprocesses import BOTH, asked

TIME = 1800 if product.WHICH == "cover" else 0  # 0: no limit


def checked(report):
    """The failures; a report of fewer cases than there are is one too."""
    drawn = len(product.factors(report["op"])["key"]) > 1
    all_pairs = 120 if drawn else 36  # 6 shapes, 20 keys
    least = all_pairs // product.ONE_OF if product.WHICH == "cover" else 1
    return report["failures"] or (None if report["done"] == report["of"] >= least else report)


# scope: the tests of an op come together, so that the reference runs once for the CPU and the shim
every_op = pytest.mark.parametrize("op", OPS, scope="module")


@pytest.mark.timeout(TIME)
@every_op
def test_cpu_equals_the_reference(op):
    assert checked(product.run(op, "cpu")) is None


@pytest.mark.slow
@pytest.mark.timeout(TIME)
@every_op
def test_simt_equals_the_reference(op):
    assert checked(product.run(op, "simt")) is None


@pytest.fixture(scope="module")
def interpreter():
    """A process of its own: TRITON_INTERPRET is read when triton is imported, and the other tests compile."""
    yield from asked("product", "triton", environment=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": BOTH})


@pytest.mark.slow
@pytest.mark.timeout(TIME)
@every_op
def test_triton_equals_the_reference(op, interpreter):
    assert checked(interpreter(op)) is None


def test_the_full_product_has_every_combination():
    for op, table in OPS.items():
        number = sum(1 for _ in product.cases(op, "full"))
        factors = [len((COMMON | table.factors)[name]) for name in COMMON]
        keys = 1 if op.endswith("loss") or op.endswith(("log_prob", "rows")) else 20
        assert number == math.prod(factors) >= 6 * 6 * 4 * keys, op  # shapes, layouts, dtypes, keys


def test_covers_have_every_pair():
    for op in OPS:
        named = {name: [repr(value) for value in values] for name, values in product.factors(op).items()}
        seen = [{name: repr(value) for name, value in case.items()} for case in product.cases(op, "cover")]
        for a, b in itertools.combinations(named, 2):
            assert len({(case[a], case[b]) for case in seen}) == len(set(named[a])) * len(set(named[b])), (op, a, b)


@pytest.mark.parametrize("wrong", ["a bit", "outside", "the flag", "nothing"])
def test_a_wrong_simt_kernel_is_noticed(wrong):
    kernels = product.kernels_of("simt-forward")
    right = kernels.poisson

    def poisson(rate, key, out, flag):
        if wrong != "nothing":
            right(rate, key, out, flag)
        if wrong == "a bit":
            out[-1, -1] ^= 1
        elif wrong == "outside":
            out.as_strided((1,), (1,), out.storage_offset() + out.numel()).fill_(3)
        elif wrong == "the flag":
            flag += 8

    kernels.poisson = poisson
    case = PLAIN | {"shape": (3, 7)}
    arguments = product.arguments("poisson", case)
    expected = product.public("poisson", arguments, case["key"], "reference")
    text = {"a bit": "out: 1 wrong, 20", "outside": "bytes outside", "the flag": "flag 8", "nothing": "out: 21 wrong"}
    with pytest.raises(AssertionError, match=text[wrong]):
        product.check("simt-forward", kernels, "cpu", "poisson", case, arguments, expected)
