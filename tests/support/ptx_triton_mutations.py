"""Triton's PTX that is wrong in one way, to see that the comparison of ptx_product.py fails: a program that prints a
line of JSON, the failures of the first of some cases that has any.

    python -m support.ptx_triton_mutations NAME
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from typing import NamedTuple

import torch


class Mutation(NamedTuple):
    kernel: str
    op: str
    pattern: str
    by: str
    fails: str = "wrong"  # what is said of it, as a regular expression


MUTATIONS = {
    "barriers less": Mutation("table_kernel", "thin", r"bar\.(?:warp\.)?sync[^;]*;", ""),
    "a signed shift": Mutation("thin_kernel", "thin", r"shr\.u32", "shr.s32"),
    "another rounding": Mutation("normal_kernel", "normal", r"mul(\.rn)?\.f64", "mul.rz.f64"),
    "a predicate less": Mutation("normal_kernel", "normal", r"@%p\d+ (st\.global)", r"\1", "wrong|outside"),
    "a vector that is not aligned": Mutation(
        "birth_loss_kernel", "birth_loss", r"(ld\.global\.v4\.b32[^;]*\[\s*%rd\d+ \+ )0", r"\g<1>4", "not aligned"
    ),
    "fused products and sums": Mutation("poisson_kernel", "poisson", "enable_fp_fusion", "", "may be fused"),
}


def main(mutation: Mutation) -> list[str]:
    from support import product, ptx_product, ptx_triton

    places = []

    def changed(text: str) -> str:
        if f".entry {mutation.kernel}(" not in text:
            return text
        text, count = re.subn(mutation.pattern, mutation.by, text)
        places.append(count)
        return text

    ptx_triton.changed = changed
    ptx_triton.replace()
    if mutation.pattern == "enable_fp_fusion":
        product.kernels_of("triton")
        sys.modules["fastblackout.kernels.launch"].OPTIONS["enable_fp_fusion"] = True
    cases = sum(1 for _ in product.cases(mutation.op, "cover"))
    for offset in range(0, cases, 10):
        failures = ptx_product.run(mutation.op, "triton", cases, offset, 1)["failures"]
        if failures:
            return failures
    assert any(places), f"nothing was changed: {mutation}"
    return []


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # NumPy's, of the overflows that GPUs do not mention
    print(json.dumps(main(MUTATIONS[sys.argv[1]])))
