"""PTX that is wrong in one way, to see that the comparison of ptx_product.py fails: a program that is asked for a
mutation a line

    python -m support.ptx_mutations

and answers with a line of JSON each: the failures.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import torch

from fastblackout.backends import cuda
from support import ptx_kernels, ptx_product


class Mutation(NamedTuple):
    source: str
    op: str
    pattern: str
    by: str
    fails: str = "wrong|trap"  # what is said of it, as a regular expression: results that differ
    count: int = 0  # how many places are changed; 0: all
    races: bool = False  # the race finder says it, whatever the schedule
    twice: bool = False  # a second launch shows it


_ASIDE = r"{{ .reg .pred some; .reg .b32 lane; mov.u32 lane, %laneid; setp.{}.u32 some, lane, {}; @some {} }}"
MUTATIONS = {
    "barriers of the block less": Mutation("energy_loss", "energy_loss", r"bar\.sync[^;]*;", "", "a race", races=True),
    "barriers of the warp less": Mutation(
        "transition", "transition_rows", r"bar\.warp\.sync[^;]*;", "", "a race", races=True
    ),
    "fences less": Mutation("energy_loss", "energy_loss", r"membar\.gl;", "", "a race", races=True),
    "a shuffle under divergence": Mutation(
        "energy_loss", "energy_loss", r"(shfl\.sync\.bfly[^;]*;)", _ASIDE.format("ge", 7, r"\1"), "missing", 1
    ),
    "a shuffle from lanes that take no part": Mutation(
        "energy_loss",
        "energy_loss",
        r"(shfl\.sync\.bfly[^;]*,) [^,;]*;",
        _ASIDE.format("lt", 16, r"\1 65535;"),
        "takes no part",
        1,
        races=True,
    ),
    "a counter that is not reset": Mutation(
        "birth_loss", "birth_loss", r"(atom\.global\.inc\.u32[^;]*,) [^,;]*;", r"\1 -1;", twice=True
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
        "normal",
        "normal",
        r"(setp\.ge\.s64[^;]*;\s*(?:\.loc.*\s*)*)@%p\d+ bra [^;]*;",
        r"\1",
        "outside|wrong|written|a race",
        1,
    ),
    "a bound of one more": Mutation(
        "normal", "normal", r"setp\.ge\.s64", "setp.gt.s64", "outside|wrong|written|a race", 1
    ),
}


def mutated(mutation: Mutation) -> str:
    if mutation.pattern == "-fmad":
        return ptx_kernels.ptx_of(mutation.source, "90", fmad=True)
    text, places = re.subn(
        mutation.pattern, mutation.by, ptx_kernels.ptx_of(mutation.source, "90"), count=mutation.count
    )
    assert places > 0, mutation
    return text


def launched_twice(launch: Callable[..., None], name: str, fields: tuple[Any, ...], *more: Any) -> None:
    """As by a CUDA graph, with the same counters, which are the last of a loss's fields: what the first launch makes is
    thrown away."""
    launch(name, (*(f.clone() if isinstance(f, torch.Tensor) else f for f in fields[:-1]), fields[-1]), *more)
    launch(name, fields, *more)


def failures(mutation: Mutation) -> list[str]:
    ptx_kernels.libraries.cache_clear()
    ptx_kernels.libraries("90")[mutation.source] = ptx_kernels.library(mutated(mutation))
    ptx_kernels.replace("90")
    launch = functools.partial(launched_twice, cuda._launch) if mutation.twice else cuda._launch
    with mock.patch.object(cuda, "_launch", launch):
        return ptx_product.run(mutation.op, "90", 4, 0, 3, mutation.races)["failures"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        print(json.dumps(failures(MUTATIONS[line.strip()])), flush=True)
