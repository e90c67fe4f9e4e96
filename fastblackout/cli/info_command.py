"""What `fastblackout info` does."""

from __future__ import annotations

import platform
from argparse import Namespace
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .._version import __version__
from ..ground.extras import LATE, is_there, pip_line
from ..ground.terminal import wrap
from ..ops.capabilities import capabilities, preferences, public_ops
from ..training.recipes import RECIPES
from .outputs import check_json, give_json


def info_command(options: Namespace) -> int:
    """Says which backends there are and why others are absent, how JAX calls the kernels, which optional packages are
    missing and what brings them, what "auto" takes, which ops there are, and which recipes."""
    check_json(options, options.force)
    backends, taken = capabilities(), preferences()
    indent, every = " " * 16, backends["reference"]["ops"]
    others = [name for name in public_ops() if name not in every]
    print(f"fastblackout {__version__}")
    print(wrap(system := _system(), "on ", "   "))
    for name, state in backends.items():
        has = f"; {_of(state['ops'], every)}" if state["ops"] else ""
        print(wrap(f"{state['detail']}{has}", f"{name:10} {'yes' if state['available'] else 'no':4} ", indent))
    jax = _jax()
    print(wrap(jax["detail"], f"{'jax':10} {'yes' if jax['available'] else 'no':4} ", indent))
    missing = {name: late.what for name, late in LATE.items() if not is_there(name)}
    print("missing packages, and what brings them" if missing else "no optional package is missing")
    for name, what in missing.items():
        print(wrap(f"{name}: {what}", "  ", "    "), f"    {pip_line(name)}", sep="\n")
    print('backend="auto" takes')
    for device, ops, backend, why in taken:
        print(wrap(f"{_of(ops, every)}: {why}", f"{device:10} {backend:9} ", " " * 21))
    print(f"{len(every) + len(others)} ops, {len(every)} of them with a kernel on every backend")
    print(wrap(", ".join(every), "with kernels    ", indent))
    print(wrap(", ".join(others), "others          ", indent))
    print("recipes of `fastblackout train DATASET --recipe NAME`")
    for dataset, known in RECIPES.items():
        for name, recipe in known.items():
            sample = f"; sample with {recipe.sample}" if recipe.sample else ""
            print(wrap(f"{recipe.about}; {recipe.time}{sample}", f"{dataset:14} {name:6} ", " " * 22))
    auto = [dict(zip(("device", "ops", "backend", "why"), rule, strict=True)) for rule in taken]
    recipes = {dataset: {name: each._asdict() for name, each in known.items()} for dataset, known in RECIPES.items()}
    listed = {"with_kernels": every, "others": others}
    brings = {name: pip_line(name) for name in missing}
    given = {"version": __version__, "system": system, "backends": backends, "jax": jax, "missing": brings}
    give_json(options, {**given, "auto": auto, "ops": listed, "recipes": recipes})
    return 0


def _system() -> str:
    """What a report of a bug should name: Python, the packages that all stands on, and the machine."""
    names = ["Python " + platform.python_version()]
    for package in ("torch", "triton", "numpy"):
        try:
            names.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            names.append(f"no {package}")
    return ", ".join([*names, " ".join(filter(None, platform.libc_ver())), f"{platform.system()} {platform.machine()}"])


def _jax() -> dict[str, Any]:
    """Whether fastblackout.jax is there, and which way it calls the kernels, or why it is absent."""
    try:
        from ..jax.calls import described

        return {"available": True, "detail": described()}
    except (ImportError, RuntimeError) as error:  # RuntimeError: JAX and jaxlib do not go together
        return {"available": False, "detail": str(error)}


def _of(ops: Sequence[str], every: Sequence[str]) -> str:
    """Their names, where they are not all."""
    return f"all {len(every)} kernels" if set(ops) == set(every) else ", ".join(ops)
