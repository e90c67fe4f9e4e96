"""Python started in a clone takes the package from it; the compiled modules are then the installed package's."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastblackout.backends import available
from support import ROOT

TEN_LINES = re.search(r"## Ten lines\n.*?```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
WAYS_OUT = "leave that folder to use an installed fastblackout, or run `pip install -e .` in it"


@pytest.fixture
def clone(tmp_path):
    """A clone in which nothing was compiled, and beside it `site`, which holds what `pip install .` there installs."""
    root, site = tmp_path / "clone", tmp_path / "site/fastblackout"
    others = shutil.ignore_patterns("*.so", "_build.json", "*.safetensors")
    for folder in ("fastblackout", "csrc", "kernels"):
        shutil.copytree(ROOT / folder, root / folder, ignore=others)
    shutil.copy(ROOT / "setup.py", root)
    shutil.copytree(root / "fastblackout", site)
    for module in Path(available.load("_cpu").__file__).parent.glob("_*.so"):
        (site / module.name).symlink_to(module)
    facts = available.build_facts() | {"sources": available.sources_digest(root)}
    (site / "_build.json").write_text(json.dumps(facts))
    (root / "csrc/.editor").mkdir()  # no sources are in what editors leave
    (root / "csrc/cpu/thin.cpp~").touch()
    return root


def python(clone, *arguments, **environment):
    """What Python says that is started in the clone's root."""
    environment = {**os.environ, "PYTHONPATH": str(clone.parent / "site"), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, *arguments], cwd=clone, env=environment, capture_output=True, text=True, timeout=120
    )


LOADED = """
import sys
from fastblackout.cli import main
if sys.argv[1:]:
    import fastblackout.backends.triton
for name in ("fastblackout", "fastblackout._cpu", *sys.argv[1:]):
    print(sys.modules[name].__file__)
main(["info"])
"""


def test_what_the_readme_shows_runs_in_a_clone(clone):
    (clone / "fastblackout/reference/thin.py").open("a").write("\n# changed\n")  # Python files may differ
    kernels = ["fastblackout.kernels"] if importlib.util.find_spec("triton") else []
    done = python(clone, "-c", TEN_LINES + LOADED, *kernels, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr
    from_tree = ["fastblackout/__init__.py", "kernels/__init__.py"]
    package, cpu, *kernels, said = done.stdout.split("\n", 2 + len(kernels))
    assert [package, *kernels] == [str(clone / path) for path in from_tree[: 1 + len(kernels)]]
    assert Path(cpu).parent == clone.parent / "site/fastblackout"
    assert re.search("^cpu +yes ", said, re.MULTILINE), said


def test_modules_that_do_not_fit_are_refused_with_the_ways_out(clone):
    def loaded():
        code = "from fastblackout.backends.available import load; print(load('_cpu'))"
        return python(clone, "-S", "-c", code).stdout  # -S: without what is installed where the tests run

    absent = f"fastblackout was imported from {clone}/fastblackout, which holds no compiled kernels,"
    others = f"and those in {clone.parent}/site/fastblackout were compiled from other sources"
    for changed in ("csrc/cpu/thin.cpp", "setup.py", "fastblackout/_version.py", "fastblackout/reference/philox.py"):
        text = (clone / changed).read_text()
        (clone / changed).write_text(f"{text}\n")
        assert loaded() == f"{absent} {others}: {WAYS_OUT}\n", changed
        (clone / changed).write_text(text)
    assert loaded().startswith("<module 'fastblackout._cpu'")
    shutil.rmtree(clone.parent / "site")
    assert loaded() == f"{absent} nor is there an installed package that does: {WAYS_OUT}\n"
