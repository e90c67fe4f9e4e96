"""Which fastblackout the tests and the benchmarks run on: their conftests ask, before the package is imported."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

from support import ROOT


def compiled(package: Path) -> bool:
    return any((package / f"_cpu{suffix}").exists() for suffix in importlib.machinery.EXTENSION_SUFFIXES)


def use_compiled_package(root: Path = ROOT) -> str | None:
    """Makes `import fastblackout` find compiled kernels; None, or one line saying what to do where there are none.

    `python -m pytest` puts the current folder first on sys.path. After an install that is not editable, that folder's
    ./fastblackout has no kernels and hides the installed package: then the folder leaves sys.path.
    """
    if not compiled(root / "fastblackout"):
        sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or os.getcwd()) != str(root)]
    importlib.invalidate_caches()
    spec = importlib.util.find_spec("fastblackout")
    if spec is None or spec.origin is None:
        return f"fastblackout is not installed: run `pip install '.[test]'` in {root}"
    package = Path(spec.origin).parent
    if compiled(package):
        return None
    return f"fastblackout in {package} holds no compiled kernels: run `pip install '.[test]'` in {root}"
