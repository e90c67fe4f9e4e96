"""PTX that is wrong in one way, to see that the comparison of ptx_product.py fails: a program that is asked for a
mutation a line

    python -m support.ptx_mutations

and answers with a line of JSON each: the failures.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from typing import NamedTuple

import torch

from support import ptx_kernels, ptx_product


class Mutation(NamedTuple):
    source: str
    op: str
    pattern: str
    by: str
    fails: str = "wrong|trap"  # what is said of it, as a regular expression: results that differ
    count: int = 0  # how many places are changed; 0: all


_ASIDE = r"{ .reg .pred some; .reg .b32 lane; mov.u32 lane, %laneid; setp.ge.u32 some, lane, 7; @some \1 }"
MUTATIONS = {
    "barriers of the block less": Mutation("thin", "thin", r"bar\.sync[^;]*;", ""),
    "barriers of the warp less": Mutation("transition", "transition_rows", r"bar\.warp\.sync[^;]*;", ""),
    "a shuffle under divergence": Mutation(
        "energy_loss", "energy_loss", r"(shfl\.sync\.bfly[^;]*;)", _ASIDE, "missing", 1
    ),
    "a counter that is not reset": Mutation(
        "birth_loss", "birth_loss", r"atom\.global\.inc\.u32", "atom.global.add.u32"
    ),
    "products and sums fused": Mutation("birth_loss", "birth_loss", "-fmad", ""),
    "subnormal numbers flushed": Mutation("birth_loss", "birth_loss", r"(add|sub|mul)\.rn\.f32", r"\1.rn.ftz.f32"),
    "another rounding": Mutation("normal", "normal", r"mul\.rn\.f64", "mul.rz.f64"),
    "a signed shift": Mutation("thin", "thin", r"shr\.u32", "shr.s32"),
    "a vector that is not aligned": Mutation(
        "birth_loss", "birth_loss", r"(ld\.global\.v4\.u32[^;]*\[%rd\d+)(?:\+\d+)?\]", r"\1+4]", "not aligned"
    ),
    "another lane of a shuffle": Mutation(
        "energy_loss", "energy_loss", r"(shfl\.sync\.bfly\.b32\s+[^,]*,[^,]*,) [^,]*,", r"\1 3,", count=1
    ),
    "a predicate less": Mutation(
        "normal", "normal", r"(setp\.ge\.s64[^;]*;\s*)@%p\d+ bra [^;]*;", r"\1", "outside|wrong|written", 1
    ),
    "a bound of one more": Mutation("normal", "normal", r"setp\.ge\.s64", "setp.gt.s64", "outside|wrong|written", 1),
}


def mutated(mutation: Mutation) -> str:
    if mutation.pattern == "-fmad":
        return ptx_kernels.ptx_of(mutation.source, "90", fmad=True)
    text, places = re.subn(
        mutation.pattern, mutation.by, ptx_kernels.ptx_of(mutation.source, "90"), count=mutation.count
    )
    assert places > 0, mutation
    return text


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        mutation = MUTATIONS[line.strip()]
        ptx_kernels.replace("90")
        ptx_kernels.replace_by(ptx_kernels.library(mutated(mutation)))
        print(json.dumps(ptx_product.run(mutation.op, "90", 4, 0, 3)["failures"]), flush=True)
