"""What a bare install lacks: each package that is imported late is in an extra, and is told with its line of pip."""

import platform
import sys
import tomllib

import numpy as np
import pytest
from packaging.requirements import Requirement

import fastblackout as fb
from fastblackout import data
from fastblackout.cli import main
from fastblackout.evaluation import compare
from fastblackout.ground.extras import LATE, is_there, pip_line
from support import ROOT

FOR_DEVELOPERS = {"test", "docs", "bench"}
TINY = ["--steps=2", "--batch=4", "--channels=8", "--threads=1", "--sample-every=0", "--schedule-steps=60", "--quiet"]


def test_every_late_package_is_in_its_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    listed = {(Requirement(line).name, extra) for extra in extras.keys() - FOR_DEVELOPERS for line in extras[extra]}
    assert listed >= {(package, late.extra) for package, late in LATE.items()}
    assert {package for package, _ in listed} == LATE.keys()


@pytest.fixture
def without(monkeypatch):
    """Makes a package as good as not installed, with all that was imported of it."""

    def take_away(package):
        module = LATE[package].module
        for name in [name for name in sys.modules if name.partition(".")[0] == module]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, module, None)
        assert not is_there(package)

    return take_away


@pytest.fixture(scope="module")
def labelled():
    counts = np.random.default_rng(0).integers(0, 12, (40, 1, 8, 8)).astype(np.uint8)
    return data.make_dataset("array", counts, np.arange(40) % 2, max_count=15, held_out_count=8)


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("scikit-learn", lambda dataset: data.load("digits")),
        ("scikit-learn", lambda dataset: compare(dataset.held_out, dataset)),
        ("scikit-learn", lambda dataset: fb.cells.compare(*[dataset.train.reshape(len(dataset.train), -1)] * 2)),
        ("torchvision", lambda dataset: data.load("mnist", "nowhere", download=True)),
        ("scipy", lambda dataset: fb.MarkovProcess(np.array([[-1.0, 1.0], [1.0, -1.0]]), method="expm")),
    ],
)
def test_a_missing_package_is_told_with_its_line(without, labelled, package, call):
    without(package)
    with pytest.raises(ValueError) as raised:
        call(labelled)
    assert str(raised.value).endswith(f": needs {package}, got none that can be imported; {pip_line(package)}")


@pytest.mark.parametrize("name", ["diffusers", "jax"])
def test_a_module_of_an_extra_is_an_attribute(name, monkeypatch):
    monkeypatch.delitem(vars(fb), name, raising=False)
    if is_there(name):
        assert getattr(fb, name).__all__
        monkeypatch.delitem(vars(fb), name)
    for each in [each for each in sys.modules if each.split(".")[:2] == ["fastblackout", name]]:
        monkeypatch.delitem(sys.modules, each)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError) as raised:
        getattr(fb, name)
    assert str(raised.value).startswith(f"fastblackout.{name}: {name}: must be installed ({pip_line(name)}), got: ")


def test_info_names_what_is_missing(without, capsys):
    for package in LATE.keys() - {"jax"}:
        without(package)
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"on Python {platform.python_version()}, torch ")
    at = lines.index("missing packages, and what brings them")
    for package in LATE.keys() - {"jax"}:
        told = next(n for n, line in enumerate(lines[at:]) if line.startswith(f"  {package}: "))
        assert f"    {pip_line(package)}" in lines[at + told + 1 : at + told + 3]


def test_without_matplotlib(without, labelled, tmp_path, monkeypatch, capsys):
    """A training goes on and says what it leaves out, and a plot is refused before anything is drawn."""
    monkeypatch.chdir(tmp_path)
    without("matplotlib")
    np.save("counts.npy", labelled.train)
    assert main(["train", "array", "--data=counts.npy", *TINY[:-1]]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert f"loss.png is not drawn, as matplotlib is missing; {pip_line('matplotlib')}" in told
    assert not (tmp_path / "runs/array/loss.png").exists()
    assert main(["plot", *TINY[-1:]]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.endswith(
        f"plot: needs matplotlib, got none that can be imported; {pip_line('matplotlib')}\n"
    )
