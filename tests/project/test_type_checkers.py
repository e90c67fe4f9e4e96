"""What mypy knows of the package's names, which are found at first use: each that there is, and no other."""

import re
import subprocess
import sys

import pytest

import fastblackout as fb
from support import ROOT

pytest.importorskip("mypy", reason="mypy is not installed: pip install mypy")
WRONG = ("thinn", "nonexistent", "data.lod", "models.Nope", "sampling.smaple", "processes.Enrenfest")


def test_mypy_knows_the_names_that_there_are_and_no_others(tmp_path):
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.py")]
    names = {name for path in documents for name in re.findall(r"\bfb\.([A-Za-z_][\w.]*\w)", path.read_text())}
    names = sorted(
        {
            *names,
            *fb.__all__,
            *(f"data.{name}" for name in fb.data.__all__),
            "data",
            "distributions",
            "evaluation",
            "ops",
            "reference",
        }
    )
    lines = ["import fastblackout as fb", "import fastblackout.sampling", *(f"fb.{name}" for name in [*names, *WRONG])]
    (tmp_path / "program.py").write_text("\n".join(lines))
    # Without torch's types, which take half a minute.
    command = [sys.executable, "-m", "mypy", "--no-site-packages", "--follow-imports=silent"]
    command += [f"--cache-dir={tmp_path}", f"{tmp_path}/program.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    wrong = re.findall(r'program\.py:(\d+): error: Module has no attribute "(\w+)"', done.stdout)
    assert wrong == [(str(lines.index(f"fb.{name}") + 1), name.split(".")[-1]) for name in WRONG], done.stdout
    assert f"Found {len(WRONG)} errors in 1 file" in done.stdout
