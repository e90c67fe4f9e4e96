"""mypy and pyright, on a script that uses the package."""

import json
import os
import re
import subprocess
import sys

import pytest

from . import ROOT


def mypy(program):
    """The numbers of the lines with an error, and all that it says."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--hide-error-context"]
    command += [f"--cache-dir={program.parent}", str(program)]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=program.parent, capture_output=True, text=True)
    return [int(line) for line in re.findall(r"program\.py:(\d+): error", done.stdout)], done.stdout + done.stderr


def basedpyright(program):
    """The same of pyright."""
    pytest.importorskip("basedpyright", reason="basedpyright is not installed")
    (program.parent / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--level", "error", "--pythonpath", sys.executable]
    done = subprocess.run([*command, str(program)], cwd=program.parent, capture_output=True, text=True)
    errors = json.loads(done.stdout)["generalDiagnostics"]
    return [each["range"]["start"]["line"] + 1 for each in errors], done.stdout


CHECKERS = [basedpyright, pytest.param(mypy, marks=pytest.mark.slow)]  # mypy takes 16 seconds
