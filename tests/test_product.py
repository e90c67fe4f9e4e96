"""reference = scalar = AVX2 = AVX-512 = SIMT shim (three schedules) = Triton's interpreter, to the bit, floats too.

op_table.py has the ops and their factors (shapes, layouts, dtypes, 20 keys, options), product.py the comparison. CI
runs a pairwise cover of the factors; FASTBLACKOUT_PRODUCT=full, every combination, is for nights (.ci/nightly).
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import product
import pytest
from op_table import COMMON, OPS, PLAIN, STATES

import fastblackout as fb

TIME = 1800 if product.WHICH == "cover" else 0  # 0: no limit


LEAST = {"cpu": 120, "simt": 120, "triton": 32}  # cases of a cover: 6 shapes by 20 keys, or 8 by 4 dtypes


def checked(report):
    """The failures; a report of fewer cases than there are is one too."""
    least = LEAST[report["kind"]] if (product.WHICH, product.EVERY) == ("cover", "") else 1
    return report["failures"] or (None if report["done"] == report["of"] >= least else report)


@pytest.mark.timeout(TIME)
@pytest.mark.parametrize("op", OPS)
def test_cpu_equals_the_reference(op):
    assert checked(product.run(op, "cpu")) is None


@pytest.mark.timeout(TIME)
@pytest.mark.parametrize("op", OPS)
def test_simt_equals_the_reference(op):
    assert checked(product.run(op, "simt")) is None


@pytest.mark.timeout(TIME)
@pytest.mark.parametrize("op", [op for op in OPS if op not in STATES])  # triton_states.py has the others
def test_triton_equals_the_reference(op, tmp_path):
    """In a process of its own: TRITON_INTERPRET is read when triton is imported, and the other tests compile."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(fb.__file__).parents[1])}
    command = [sys.executable, str(Path(product.__file__)), op, "triton"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert checked(json.loads(done.stdout.splitlines()[-1])) is None


def test_the_full_product_has_every_combination():
    for op, table in OPS.items():
        number = sum(1 for _ in product.cases(op, "cpu", "full"))
        factors = [len((COMMON | table.factors)[name]) for name in COMMON]
        assert number == math.prod(factors) >= 6 * 6 * 4 * 20, op  # shapes, layouts, dtypes, keys


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
