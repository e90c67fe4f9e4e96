"""The element-wise draws, a module each: all that the tests of every op know of one beyond its declaration.

A new draw is a module NAME.py, which is found here by its name. It has

- `arguments(m)`: dense CPU tensors by the names of the declaration, extremes among them, of a Maker;
- `FACTORS`: what they depend on, beyond op_table.COMMON or in place of it;
- `right(x, reals)`: arguments that are right, in the order of the public function, of counts x in 0..3 and of reals in
  -1..1, arrays of one library and shape;
- `law(x, reals)`: the same for its log-probability, where it has one;
- `WRONG`: of its arguments, a value that no kernel takes and how the rule begins that the flag of a device tells;
- `CASES`: fixed cases by name, whose draws known_answers.json keeps as hashes;
- `REGISTERS`: the most that its Triton kernel takes on an NVIDIA GPU;
- `TIMED`: its cases in benchmarks/gpu, by name: a function of a shape and a torch.Generator that makes the arguments,
  and what peers alone take, named peer_*; and `PEERS`: the same work by others.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any

import fastblackout as fb
from fastblackout.call.declared import DECLARED

DRAWS: dict[str, ModuleType] = {
    file.name: importlib.import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__)
}


def public(op: str, a: dict[str, Any], rng: Any, backend: str) -> Any:
    """The draw as users call it. a: its arguments by name; p and q, where there are both, as one fb.Prob."""
    values = {name: value for name, value in a.items() if name not in "pq"}
    if "p" in a:
        values["prob"] = fb.Prob(a["p"], a["q"]) if "q" in a else a["p"]
    return getattr(fb, op)(**values, rng=rng, backend=backend)


def dtypes(op: str) -> dict[str, tuple[str, ...]]:
    """Those that the arguments of a draw may have, as its declaration says, by the names that its kernels have."""
    (declared, *_) = getattr(fb, op) and DECLARED[op].arguments
    return {"p" if name == "prob" else name: kinds for name, kinds in declared.dtypes.items()}
