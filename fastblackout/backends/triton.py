"""The ops on Triton: NVIDIA and AMD GPUs, and the interpreter (TRITON_INTERPRET=1) over CPU tensors.

The functions stand beside the kernels that they launch, in the package fastblackout.kernels (kernels/launch.py says
what they are given). This module has what the modules there list in `__all__`.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from ..ground.process import signals_wait

_NAME = "fastblackout.kernels"


def _kernels() -> ModuleType:
    """The package; in a source tree it is the folder kernels/ beside fastblackout/."""
    package = Path(__file__).resolve().parents[1]
    if _NAME not in sys.modules and not (package / "kernels").is_dir():
        folder = package.parent / "kernels"
        spec = importlib.util.spec_from_file_location(
            _NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None or not (folder / "__init__.py").exists():
            raise ImportError(f"{_NAME}, the Triton kernels, is not part of this installation")
        sys.modules[_NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[_NAME])
    return importlib.import_module(_NAME)


with signals_wait():
    importlib.import_module("triton")
for _file in pkgutil.iter_modules(_kernels().__path__):
    _module = importlib.import_module(f"{_NAME}.{_file.name}")
    globals().update({name: getattr(_module, name) for name in getattr(_module, "__all__", ())})
