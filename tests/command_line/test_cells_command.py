"""A model of single cells on the command line: train FILE.h5ad, sample, impute, evaluate."""

import contextlib
import io
import json
import re

import numpy as np
import pytest
import torch

from fastblackout.cells import CellModel
from fastblackout.cli.cells_command import is_of_cells
from fastblackout.cli.command_line import main
from fastblackout.training.run_lock import holding
from support.machine import a_pipe
from support.simulated_cells import anndata, simulated, write_zarr

pytest.importorskip("sklearn")
torch.set_num_threads(1)
TRAIN = [
    "train",
    "cells.h5ad",
    "--labels=type",
    "--batch-key=batch",
    "--covariate=age",
    "--steps=4",
    "--width=8",
    "--quiet",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Files of cells, and a model of one of them."""
    folder = tmp_path_factory.mktemp("home")
    data = simulated(90)
    data.layers["raw"] = data.X * 2
    data.layers["seen"] = np.random.default_rng(0).random(data.shape) < 0.5
    data[:60].copy().write_h5ad(folder / "cells.h5ad")
    data[60:].copy().write_h5ad(folder / "rest.h5ad")
    write_zarr(data[60:].copy(), folder / "rest.zarr")
    with contextlib.chdir(folder):
        assert main(TRAIN) == 0
    return folder


def fails(capsys, line, *words, status=1):
    capsys.readouterr()
    if status == 2:
        with pytest.raises(SystemExit, match="2"):
            main(line)
    else:
        assert main(line) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words), error


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_a_pipe_is_no_description_of_a_model(tmp_path, capsys):
    with a_pipe(tmp_path / "config.json", '{"format": "fastblackout-cells"}'):
        assert not is_of_cells(["sample", str(tmp_path)])
        fails(capsys, ["sample", str(tmp_path)], "checkpoint: ", "holds no checkpoint")


def test_cells_are_drawn(place, capsys):
    assert main(["sample", "--num=5", "--label=small", "--steps=5", "runs/cells", "--json=told.json"]) == 0
    made = anndata.read_h5ad("runs/cells/samples.h5ad")
    assert made.shape == (5, 24) and set(made.obs["type"]) == {"small"} and made.X.dtype == np.int32
    assert json.loads((place / "told.json").read_text())["cells"] == 5
    line = ["sample", "runs/cells", "--num=3", "--depth=50", "--batch=two", "--steps=5", "--seed=4", "--out=a.h5ad"]
    assert main(line) == 0
    made = anndata.read_h5ad("a.h5ad")
    assert set(made.obs["batch"]) == {"two"} and made.obs["age"].notna().all()
    assert main([*line, "--covariate=age=70.5", "--force"]) == 0
    assert anndata.read_h5ad("a.h5ad").obs["age"].to_numpy() == pytest.approx(70.5, rel=1e-5)
    fails(capsys, line, "out: a.h5ad exists; overwrite it with --force")
    fails(capsys, [*line, "--force", "--covariate=sex=1"], "covariates: names must be among 'age', got 'sex'")
    fails(capsys, [*line, "--covariate=age"], "must be a name and a number, as age=60, got 'age'", status=2)
    fails(capsys, [*line, "--out=a.npz"], "out: must end in .h5ad, got a.npz")
    fails(capsys, [*line, "--out=b.h5ad", "--label=huge"], "sample: label: must be one of 'large', 'small', got 'huge'")
    fails(capsys, [*line, "--rounding=nearest"], "unrecognized arguments: --rounding=nearest", status=2)
    assert not (place / "b.h5ad").exists()


def test_counts_are_imputed(place, capsys):
    cells = anndata.read_h5ad("rest.h5ad")
    line = ["impute", "runs/cells", "rest.h5ad", "--out=filled.h5ad", "--steps=4"]
    assert main([*line, "--observed=seen"]) == 0
    filled, seen = anndata.read_h5ad("filled.h5ad"), cells.layers["seen"]
    counts = cells.X.toarray()
    assert np.array_equal(filled.X.toarray(), counts) and list(filled.obs_names) == list(cells.obs_names)
    assert np.array_equal(filled.layers["imputed"][seen], counts[seen]) and (filled.layers["imputed"][~seen] > 0).all()
    np.save("seen.npy", seen)
    assert main([*line, "--observed=seen.npy", "--draws=2", "--force"]) == 0
    drawn = anndata.read_h5ad("filled.h5ad").layers
    assert {"imputed-0", "imputed-1"} <= drawn.keys() and "imputed" not in drawn
    assert main([*line, "--denoise", "--force"]) == 0
    expected = anndata.read_h5ad("filled.h5ad").layers["expected"]
    assert (expected > 0).all()
    assert main([*line, "--denoise", "--batch=two", "--force"]) == 0
    own, two = (cells.obs["batch"] == "two").to_numpy(), anndata.read_h5ad("filled.h5ad").layers["expected"]
    assert np.allclose(two[own], expected[own]) and not np.allclose(two[~own], expected[~own])
    fails(capsys, [*line, "--force", "--observed=seen", "--batch=two"], "batch: must be left out without --denoise")
    fails(capsys, [*line, "--force"], "impute: observed, denoise: give one of them, got neither")
    fails(capsys, [*line, "--force", "--denoise", "--observed=seen"], "got both")
    fails(capsys, [*line, "--force", "--denoise", "--draws=2"], "draws: must be left out with --denoise, got 2")
    fails(capsys, [*line, "--force", "--observed=saw"], "must be a layer of the file or a .npy file, got 'saw'")
    for content, words in (
        (b"PK\x03\x04", "not a readable .npy file"),
        (npy(seen.astype(int)), "must hold booleans, got"),
    ):
        (place / "wrong.npy").write_bytes(content)
        fails(capsys, [*line, "--force", "--observed=wrong.npy"], f"impute: observed: wrong.npy: {words}")
    fails(capsys, ["impute", "cells.h5ad", "rest.h5ad", "--out=x.h5ad", "--denoise"], "folder: must hold a model")
    fails(capsys, ["impute", "runs/cells", "rest.h5ad"], "required: --out", status=2)


def test_cells_are_compared(place, capsys, monkeypatch):
    monkeypatch.setattr("fastblackout.cells.metrics.TREES", 3)
    line = ["evaluate", "runs/cells", "rest.h5ad", "--train=cells.h5ad", "--steps=4", "--json=told.json"]
    assert main([*line, "--plots=plots"]) == 0
    printed = capsys.readouterr().out
    assert "30 generated and 30 real cells of 24 genes" in printed
    assert max(map(len, printed.splitlines())) <= 80
    told = json.loads((place / "told.json").read_text())
    assert told["floors"]["energy_distance"] is not None and told["numbers"]["proportions"] == 0
    assert main([*line[:2], "rest.zarr/", *line[3:5], "--json=store.json"]) == 0
    assert json.loads((place / "store.json").read_text()) == {**told, "plots": []}
    assert {path.name for path in (place / "plots").iterdir()} == {"genes.png", "depth.png", "components.png"}
    picture = (place / "plots/depth.png").read_bytes()
    fails(capsys, [*line[:3], "--plots=plots", "--seed=1"], "plots: plots/genes.png exists; overwrite it with --force")
    assert (place / "plots/depth.png").read_bytes() == picture
    assert main([*line, "--force", "--seeds=2", "--seed=5"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80 and "means of the seeds 5 to 6" in " ".join(printed.split())
    low, high = json.loads((place / "told.json").read_text())["intervals"]["energy_distance"]
    assert f"+-{(high - low) / 2:.3f}" in printed
    fails(capsys, line, "json: told.json exists")
    fails(capsys, ["evaluate", "runs/cells"], "required: FILE.h5ad", status=2)


def test_a_model_is_trained_anew_by_force_alone(place, capsys):
    before = (place / "runs/cells/model.safetensors").read_bytes()
    fails(capsys, TRAIN, "out: runs/cells exists: overwrite it with --force")
    (place / "other").mkdir()
    (place / "other/file").touch()
    fails(capsys, [*TRAIN, "--out=other", "--force"], "other exists: it is no cell model, or choose another with --out")
    assert (place / "runs/cells/model.safetensors").read_bytes() == before
    (place / "genes.txt").write_text("gene-4\ngene-2\n")
    assert main([*TRAIN, "--force", "--genes=genes.txt", "--seed=3"]) == 0
    assert "runs/cells: 2 genes, 2 types, 4 steps; held-out loss" in capsys.readouterr().out
    fails(capsys, [*TRAIN, "--out=new", "--labels=kind"], "train: labels_key: must be a column of obs", "'kind'")
    fails(capsys, ["train", "none.h5ad"], "must be a .h5ad file or a .zarr store, got none.h5ad, which does not exist")
    assert not (place / "new").exists()


def test_one_training_in_a_folder_and_no_link_is_followed(place, capsys):
    with holding("runs/new"):
        fails(capsys, [*TRAIN, "--out=runs/new"], "train: out: must be in use by no other training", "runs/new")
    mine = place / "mine"
    for name, line in (("samples.h5ad", ["sample", "runs/cells", "--num=2", "--steps=2"]), ("config.json", TRAIN)):
        file = place / "runs" / "cells" / name
        content = file.read_bytes() if file.exists() else b"mine"
        file.unlink(missing_ok=True)
        mine.write_bytes(content)
        file.symlink_to(mine)
        assert main([*line, "--force"]) == 0
        assert not file.is_symlink() and mine.read_bytes() == content
    assert not (place / "runs" / "cells" / ".lock").exists()


def test_other_commands_say_who_takes_a_cell_model(place, capsys):
    fails(
        capsys, ["plot", "runs/cells"], "is of a model of cells, not of a training (sample, impute and evaluate take it"
    )
    fails(capsys, ["sample"], "run: there is none in runs/; name one of runs/cells")


def test_which_commands_are_of_cells(place):
    for line in (
        "train a.h5ad",
        "train --steps 3 a.h5ad",
        "train a.zarr/",
        "sample runs/cells",
        "evaluate --steps 3 runs/cells b.h5ad",
    ):
        assert is_of_cells(line.split()), line
    other = """train digits, train h5ad --data a.h5ad, train h5ad --data=a.h5ad, sample, sample digits --out a.h5ad,
        evaluate runs/none, sample digits --out runs/cells, , info, plot runs/cells"""
    for line in other.split(","):
        assert not is_of_cells(line.split()), line


def helped(capsys, line):
    with pytest.raises(SystemExit, match="0"):
        main(line.split())
    return capsys.readouterr().out


@pytest.mark.parametrize("line,words", [("train", "cells.h5ad"), ("sample", "runs/cells"), ("evaluate", "runs/cells")])
def test_help_names_the_options_for_cells(place, capsys, line, words):
    """That of a command which has others for a model of cells."""
    of_cells = helped(capsys, f"{line} {words} --help")
    options = set(re.findall("^  (--[a-z-]+)", of_cells.split("\nhelp:")[0], re.M))
    example = re.match("usage: (.*) \\[OPTION ...]", of_cells)[1]
    for page in (helped(capsys, f"{line} --help"), helped(capsys, f"{line} --help-all")):
        about = page.split("arguments:")[0]
        assert f"`{example} --help` has them." in " ".join(about.split())
        assert options | {"--help"} == set(re.findall("--[a-z-]+", about)) and "--device" in options


def test_options_of_a_training_reach_the_model(place, capsys):
    line = ["train", "cells.h5ad", "--labels=type", "--layer=raw", "--size-factor=depth", "--steps=3", "--width=9"]
    assert main([*line, "--genes=chosen", "--seed=5", "--out=other"]) == 0
    out, err = capsys.readouterr()
    model = CellModel.load("other")
    told = [model.labels_key, model.layer, model.size_factor_key, model.steps, model.width, model.genes, model.rng]
    assert told == ["type", "raw", "depth", 3, 9, "chosen", 5]
    best = min(each["held_out_loss"] for each in model.history_)
    assert f"held-out loss {best:.4f} nats" in out and "training" in err
    assert main([*line, "--out=quiet", "--quiet"]) == 0 and "training" not in capsys.readouterr().err
    (place / "file").touch()
    fails(capsys, [*line, "--out=file"], "out: file is no folder; choose another with --out")
    fails(capsys, [*line, "--out=new", "--device=abacus"], "abacus")
    fails(capsys, [*line, "--out=new", "--json=file"], "json: file exists")
    assert not (place / "new").exists()


def test_what_is_drawn_is_what_the_model_draws(place, capsys, monkeypatch):
    """With the same steps and seeds; and of its genes alone."""
    monkeypatch.setattr("fastblackout.cells.metrics.TREES", 3)
    cells, model = anndata.read_h5ad("rest.h5ad"), CellModel.load("runs/cells")
    assert main(["sample", "runs/cells", "--num=4", "--steps=5", "--seed=4", "--out=a.h5ad"]) == 0
    assert (anndata.read_h5ad("a.h5ad").X != model.sample(4, steps=5, rng=4).X).nnz == 0
    assert main([*TRAIN, "--out=few", "--genes=chosen"]) == 0
    few, seen = CellModel.load("few"), cells.layers["seen"]
    line = ["impute", "few", "rest.h5ad", "--observed=seen", "--steps=3", "--seed=7", "--draws=1", "--out=b.h5ad"]
    assert main(line) == 0
    filled = anndata.read_h5ad("b.h5ad")
    assert list(filled.var_names) == list(few.genes_) and filled.n_vars == 16
    assert np.array_equal(filled.layers["imputed-0"], few.impute(cells, seen, 1, 3, 7)[0])
    line = ["evaluate", "runs/cells", "rest.h5ad", "--steps=3", "--seed=7", "--json=told.json"]
    fails(capsys, [*line, "--plots=rest.h5ad/plots"], "plots: cannot write", "rest.h5ad/plots")
    assert main(line) == 0
    told, wanted = json.loads((place / "told.json").read_text()), model.evaluate(cells, steps=3, rng=7)
    assert told == {**wanted.to_dict(), "plots": []}
    for words in (["sample", "runs/cells"], ["impute", "few", "rest.h5ad", "--denoise"], ["evaluate", *line[1:3]]):
        fails(capsys, [*words, "--device=abacus", *([] if words[0] == "evaluate" else ["--out=c.h5ad"])], "abacus")
    fails(capsys, ["sample", "runs/cells", "--json=told.json", "--out=c.h5ad"], "json: told.json exists")
    assert not (place / "c.h5ad").exists()


def test_a_folder_of_another_thing_is_no_cell_model(tmp_path):
    for text in ("[]", "{", '{"format": "other"}'):
        (tmp_path / "config.json").write_text(text)
        assert not is_of_cells(["sample", str(tmp_path)])
