"""Runs one group of cases through the Triton interpreter and compares each with the CPU ops; started by test_triton.py.
Given the name of a single test and the word compiled, it runs that on what Triton compiles (ptx_triton.py), for
test_ptx_triton.py.

A process of its own, since TRITON_INTERPRET must be set before triton is imported, and interpreted and compiled kernels
do not mix in one. Prints one JSON line: {"cases": number, "failures": [text, ...]}.
"""

import importlib
import json
import sys
import traceback
import warnings

import torch

from support import triton_laws, triton_single, triton_states
from support.triton_interpreter import quicken


def run(group):
    singles = *triton_single.SINGLE, *triton_states.SINGLE, *triton_laws.SINGLE
    todo = [(test.__name__, test) for test in singles if group in ("single", test.__name__)]
    if not todo:
        functions = vars(triton_states)
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
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # NumPy's, of the overflows that GPUs do not mention
    compiled = sys.argv[2:] == ["compiled"]
    assert compiled != sys.modules["fastblackout.kernels.launch"].INTERPRETED
    importlib.import_module("support.ptx_triton").replace() if compiled else quicken()
    print(json.dumps(run(sys.argv[1])))
