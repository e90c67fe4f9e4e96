"""What setup.py decides before it compiles: whether it can, and for which GPUs."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from fastblackout.backends import available
from support import ROOT

pytest.importorskip("setuptools", reason="setuptools, with which the package is built, is not installed")

# As the build starts it, but for the building.
DECIDE = """
import json, runpy, sys, setuptools
setuptools.setup = lambda **arguments: None
sys.argv = ["setup.py", "build_ext"]
print(json.dumps(runpy.run_path("setup.py")["BUILD_FACTS"]))
"""


@pytest.fixture
def decide(tmp_path):
    """Runs that where these programs, by name the lines of a shell, are all that is on the PATH."""

    def run(programs, **environment):
        for name, lines in {"g++": "", **programs}.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
            (tmp_path / name).chmod(0o755)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("FASTBLACKOUT_", "CUDA_", "CXX"))}
        clean |= {"PATH": str(tmp_path), **environment}
        return subprocess.run([sys.executable, "-c", DECIDE], cwd=ROOT, env=clean, capture_output=True, text=True)

    return run


def smi(lines):
    wants = "--query-gpu=compute_cap --format=csv,noheader"
    return f'[ "$*" = "{wants}" ] && printf "{lines}" || exit 1'


def nvcc(*codes):
    names = " ".join(f"sm_{code}" for code in codes)
    return f'[ "$1" = --version ] && echo "release 13.0," || printf "%s\\n" {names}'


ALL = nvcc(75, 80, 86, 89, 90, 100, 103, 110, 120, 121)


@pytest.mark.parametrize(
    ("compiler", "lines", "architectures"),
    [
        (ALL, None, ["sm_80", "sm_90", "sm_100", "sm_120"]),
        (ALL, "9.0\\n", ["sm_90"]),
        (ALL, "8.9\\n8.0\\n", ["sm_80"]),
        (ALL, "12.1\\n8.6\\n", ["sm_80", "sm_120"]),
        (ALL, "11.0\\n", ["sm_100"]),  # by way of its PTX
        (nvcc(80, 90), "10.0\\n", ["sm_90"]),  # as well
        (nvcc(80, 90), None, ["sm_80", "sm_90"]),
        (ALL, "7.5\\n", ["sm_80", "sm_90", "sm_100", "sm_120"]),  # which runs none
        (ALL, "No devices were found\\n", ["sm_80", "sm_90", "sm_100", "sm_120"]),
    ],
)
def test_the_gpus_here_decide_the_architectures(decide, compiler, lines, architectures):
    done = decide({"nvcc": compiler} | ({} if lines is None else {"nvidia-smi": smi(lines)}))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cuda_architectures"] == architectures


def test_architectures_by_name(decide):
    programs = {"nvcc": ALL, "nvidia-smi": smi("9.0\\n")}
    done = decide(programs, FASTBLACKOUT_CUDA_ARCHITECTURES="100,80")
    assert json.loads(done.stdout)["cuda_architectures"] == ["sm_80", "sm_100"]
    done = decide(programs, FASTBLACKOUT_CUDA_ARCHITECTURES="86")
    rule = "FASTBLACKOUT_CUDA_ARCHITECTURES must be some of 80,90,100,120, got '86'"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"fastblackout: {rule}\n")


@pytest.mark.parametrize("command", ["egg_info", "bdist_wheel"])  # pip's first, before it fetches anything; the build
@pytest.mark.parametrize(("chosen", "named"), [({}, "g++ or c++"), ({"CXX": "no-such -O1"}, "no-such -O1")])
def test_a_missing_compiler_is_said_in_one_line(tmp_path, command, chosen, named):
    environment = {k: v for k, v in os.environ.items() if k != "CXX"} | {"PATH": str(tmp_path), **chosen}
    done = subprocess.run(
        [sys.executable, "setup.py", command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    why = "it is compiled from source, which needs a C++17 compiler"
    why += f", but no {named} is on PATH: install g++, or set CXX"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"fastblackout: {why}\n")


def test_missing_headers_of_python_are_said_in_one_line():
    code = f"import sysconfig; sysconfig.get_path = lambda name: '/nowhere'\n{DECIDE}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "needs Python.h" in done.stderr


def test_an_older_setuptools_is_told_the_one_that_is_needed():
    code = f"import setuptools; setuptools.__version__ = '76.1.0'\n{DECIDE}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "needs setuptools 77 or newer, this is 76.1.0: pip install 'setuptools>=77'" in done.stderr


def test_the_modules_under_test_are_those_of_this_tree(decide):
    """_build.json says so; it fails where C++ was changed and not compiled again."""
    sources = json.loads(decide({}).stdout)["sources"]
    assert sources == available.sources_digest(ROOT) == available.build_facts()["sources"]


# Touches what it is to make, and says of what in a list.
COMPILER = """#!/bin/sh
echo "$*" >> "$COMPILED"
while [ $# -gt 0 ]; do
  case $1 in -o) touch "$2" ;; -MF) : > "$2" ;; esac
  shift
done
"""
BUILD = """
import runpy, sys, sysconfig
of, suffix = sysconfig.get_config_var, sys.argv.pop(1)
sysconfig.get_config_var = lambda name: suffix if name == "EXT_SUFFIX" else of(name)
sys.argv[0] = "setup.py"
runpy.run_path("setup.py", run_name="__main__")
"""


def test_a_build_for_another_python_compiles_the_bindings_alone(tmp_path):
    """As .ci/versions has it: in a copy of the folder of another build."""
    for needed in ("ninja", "pybind11"):
        pytest.importorskip(needed, reason=f"{needed}, which the build needs, is not installed")
    (tmp_path / "g++").write_text(COMPILER)
    (tmp_path / "g++").chmod(0o755)

    def build(tree, suffix):
        """The sources that are compiled, and what is linked."""
        log = tmp_path / "compiled"
        log.write_text("")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("FASTBLACKOUT_", "CXX"))}
        environment |= {"CXX": str(tmp_path / "g++"), "COMPILED": str(log), "FASTBLACKOUT_SIMT": "1"}
        command = [sys.executable, "-c", BUILD, suffix, "-q", "build_ext", "--inplace"]
        subprocess.run(command, cwd=tree, env=environment | {"FASTBLACKOUT_CUDA": "0"}, check=True)
        lines = [line.split() for line in log.read_text().splitlines()]
        compiled = {line[line.index("-c") + 1] for line in lines if "-c" in line}
        return compiled, sorted(os.path.basename(line[line.index("-o") + 1]) for line in lines if "-shared" in line)

    first = tmp_path / "first"
    for name in ("setup.py", "csrc", "fastblackout", "pyproject.toml", "README.md", "LICENSE", "kernels"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        first.mkdir(exist_ok=True)
        copy(ROOT / name, first / name)
    for stale in first.rglob("*.so"):
        stale.unlink()
    compiled, linked = build(first, ".cpython-311-some.so")
    assert len(compiled) > 50 and linked == ["_cpu.cpython-311-some.so", "_simt.cpython-311-some.so"]
    assert build(first, ".cpython-311-some.so") == (set(), [])
    shutil.copytree(first, tmp_path / "second")
    again, linked = build(tmp_path / "second", ".cpython-312-some.so")
    assert again == {name for name in compiled if "/bindings/" in name}
    assert linked == ["_cpu.cpython-312-some.so", "_simt.cpython-312-some.so"]
