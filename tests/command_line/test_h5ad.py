"""The way of an .h5ad file through the commands, with a network of one's choice: train, resume, sample, evaluate."""

import contextlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from fastblackout.cli.command_line import main
from fastblackout.training.trained_model import load_run
from support.configs import rewrite_config

anndata = pytest.importorskip("anndata")

GENES = [f"gene-{n}" for n in range(5)]
TYPES = ["T cell", "B cell", "1"]
CELLS = ["train", "h5ad", "--data=cells.h5ad"]
TINY = ["--steps=4", "--batch=8", "--channels=4", "--threads=1", "--quiet"]
FEW = ["--steps=3", "--threads=1", "--quiet"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A file of cells, others like it, and a run on the first, named after it."""
    folder = tmp_path_factory.mktemp("home")
    counts = np.random.default_rng(0).poisson(3.0, (60, 5)).astype(np.float32)
    obs = {"type": np.array(TYPES)[np.arange(60) % 3], "age": np.arange(60) / 2}
    cells = anndata.AnnData(sp.csr_matrix(np.sqrt(counts + 0.5)), obs=obs, layers={"counts": sp.csr_matrix(counts)})
    cells.var_names = GENES
    cells.write_h5ad(folder / "cells.h5ad")
    cells[:, ::-1].copy().write_h5ad(folder / "reversed.h5ad")
    cells[:, [0, 1, 4]].copy().write_h5ad(folder / "fewer.h5ad")
    cells.layers["others"] = cells.layers.pop("counts")
    cells.write_h5ad(folder / "others.h5ad")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        assert main([*CELLS, "--layer=counts", "--labels-key=type", "--no-decay", *TINY]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "state"))


def fails(capsys, line, *words):
    capsys.readouterr()
    assert main(line) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words), error


def known(step):
    return json.loads(Path(f"runs/cells/checkpoints/step-{step:08}/config.json").read_text())["config"]


def test_the_names_go_with_the_run(place, capsys):
    config = known(4)
    assert config["dataset"]["var_names"] == GENES and config["dataset"]["class_names"] == sorted(TYPES)
    assert config["train"]["conditional"] and config["train"]["head"] == "negative-binomial"
    assert main([*CELLS, "--resume", "--steps=6", "--quiet"]) == 0  # it remembers layer and column
    assert known(6)["dataset"] == config["dataset"]
    fails(
        capsys,
        [*CELLS, "--resume", "--layer=X"],
        "layer: a resumed run keeps counts, got X",
    )
    fails(
        capsys,
        [*CELLS, "--out=new"],
        "must hold raw counts",
        "a layer may have them: 'counts'",
    )
    fails(capsys, ["train", "digits", "--labels-key=a"], "labels_key: belongs to h5ad data alone, got it for digits")
    assert not (place / "new").exists()
    how = ["h5ad", "--data=cells.h5ad", "--layer=counts", "--labels-key=type", "--no-conditional", "--out=plain"]
    assert main(["train", *how, *TINY]) == 0
    fails(
        capsys,
        ["sample", "plain", "--label=B cell"],
        "label: needs a run trained with --conditional (cells: --labels-key), got B cell",
    )


def test_samples_are_cells(place, capsys):
    for number, name in enumerate(sorted(TYPES)):
        for label in (name, str(number)):
            assert main(["sample", "--num=6", f"--label={label}", "--out=one.h5ad", "--force", *FEW]) == 0
            made = anndata.read_h5ad("one.h5ad")
            # "1" is the name of class 0, and so not the number of class 1
            assert set(made.obs["type"]) == {"1" if label == "1" else name}
            assert made.X.dtype == np.int32 and sp.issparse(made.X) and list(made.var_names) == GENES
    how = ["--num=7", "--first=3", "--seed=5", "--json=told.json", "--force", *FEW]
    assert main(["sample", "--out=all.npz", *how]) == 0
    with np.load("all.npz") as same:
        for more in (["--batch=2"], ["--format=h5ad"]):
            assert main(["sample", "--out=all.h5ad", *more, *how]) == 0
            made = anndata.read_h5ad("all.h5ad")
            assert np.array_equal(made.X.toarray(), same["counts"])
            assert [sorted(TYPES)[label] for label in same["labels"]] == list(made.obs["type"])
    assert list(made.obs_names) == [f"sample-{n}" for n in range(3, 10)]
    told = json.loads((place / "told.json").read_text())
    assert (told["format"], told["label"], told["files"]) == ("h5ad", None, ["all.h5ad"])
    assert main(["sample", "--format=h5ad", *FEW]) == 0 and (place / "runs/cells/samples.h5ad").exists()
    before = sorted(place.iterdir())
    fails(capsys, ["sample", "--label=Bcell", *FEW], "label: must be one of '1', 'B cell', 'T cell', or in 0..2, got")
    fails(capsys, ["sample", "--out=all.h5ad", *FEW], "all.h5ad exists")
    fails(capsys, ["sample", "--format=h5ad", "--out=new.npz", *FEW], "must end in .h5ad, got new.npz")
    fails(capsys, ["sample", "digits", "--out=new.h5ad", *FEW], "format: h5ad needs a table, got samples of shape")
    assert sorted(place.iterdir()) == before


def test_cells_of_another_file_are_compared_by_names(place, capsys):
    how = ["evaluate", "--num=20", "--seeds=1", "--bits=3", *FEW]
    numbers = []
    for file, *layer in (("cells",), ("reversed",), ("others", "--layer=others")):
        assert main([*how, f"--data={file}.h5ad", *layer, "--json=told.json", "--force"]) == 0
        numbers.append(json.loads((place / "told.json").read_text()))
    assert numbers[0] == numbers[1] == numbers[2]
    assert "Difference to the training rows" in capsys.readouterr().out
    fails(capsys, [*how, "--data=others.h5ad"], "layer: must be one of 'others', got 'counts'")
    fails(capsys, [*how, "digits", "--layer=others"], "layer: belongs to h5ad data alone, got it for digits")
    fails(
        capsys, [*how, "--data=fewer.h5ad"], "must have all 5 genes, by var_names, got none named 'gene-2' and 1 more"
    )


def test_what_a_description_cannot_say(place, capsys):
    """A run may have come from anybody."""
    file = place / "runs/cells/checkpoints/step-00000004/config.json"
    right = file.read_text()
    for name, wrong in (
        ("var_names", GENES[1:]), ("var_names", "genes"), ("var_names", [1, 2, 3, 4, 5]), ("class_names", ["a"]),
        ("class_names", {"a": 1}), ("layer", 3), ("labels_key", ["type"]),
    ):  # fmt: skip
        config = json.loads(right)
        config["config"]["dataset"][name] = wrong
        rewrite_config(file, config)
        with pytest.raises(ValueError, match=f"config.json is damaged: .*{name}.* cannot be right"):
            load_run(place / "runs/cells")


def test_without_anndata_it_says_what_is_missing(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    words = "needs anndata, got none that can be imported; pip install 'fastblackout[cells]'"
    fails(capsys, [*CELLS, "--out=new"], words)
    fails(capsys, ["sample", "--out=new.h5ad", *FEW], words)
    assert not list(place.glob("new*"))
