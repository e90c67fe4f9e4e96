"""Single cells on the command line.

A model of them: `train FILE.h5ad`, `sample`, `impute` and `evaluate`. Their counts from file to file: `split`, `thin`
and `downsample`, with the draws of fb.cells in memory. And an .h5ad file with a network of one's choice.
"""

import contextlib
import io
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import fastblackout as fb
from fastblackout.cells import CellModel
from fastblackout.cli.cells_command import is_of_cells
from fastblackout.cli.command_line import main
from fastblackout.training.run_folder import holding
from fastblackout.training.trained_model import load_run
from support.configs import rewrite_config
from support.machine import a_pipe
from support.simulated_cells import anndata, simulated, write_zarr

pytest.importorskip("h5py")
pytest.importorskip("sklearn")
torch.set_num_threads(1)
TRAIN = ["train", "cells.h5ad", "--labels=type", "--batch-key=batch", "--covariate=age", "--steps=4", "--width=8"]
TRAIN += ["--quiet"]
GENES = [f"gene-{n}" for n in range(5)]
TYPES = ["T cell", "B cell", "1"]
NETWORK = ["train", "h5ad", "--data=table.h5ad"]
TINY = ["--steps=4", "--batch=8", "--channels=4", "--threads=1", "--quiet"]
FEW = ["--steps=3", "--threads=1", "--quiet"]


def a_table():
    counts = np.random.default_rng(0).poisson(3.0, (60, 5)).astype(np.float32)
    obs = {"type": np.array(TYPES)[np.arange(60) % 3], "age": np.arange(60) / 2}
    cells = anndata.AnnData(sp.csr_matrix(np.sqrt(counts + 0.5)), obs=obs, layers={"counts": sp.csr_matrix(counts)})
    cells.var_names = GENES
    return cells


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Files of cells and a cell model of one of them; a table of other cells and a run of a network on it."""
    folder = tmp_path_factory.mktemp("home")
    data = simulated(90)
    data.layers["raw"] = data.X * 2
    data.layers["seen"] = np.random.default_rng(0).random(data.shape) < 0.5
    table = a_table()
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        data[:60].copy().write_h5ad("cells.h5ad")
        data[60:].copy().write_h5ad("rest.h5ad")
        write_zarr(data[60:].copy(), folder / "rest.zarr")
        table.write_h5ad("table.h5ad")
        table[:, ::-1].copy().write_h5ad("reversed.h5ad")
        table[:, [0, 1, 4]].copy().write_h5ad("fewer.h5ad")
        table.layers["others"] = table.layers.pop("counts")
        table.write_h5ad("others.h5ad")
        assert main(TRAIN) == main([*NETWORK, "--layer=counts", "--labels-key=type", "--no-decay", *TINY]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "state"))


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def told(file="told.json"):
    return json.loads(Path(file).read_text())


def test_what_is_no_cell_model(tmp_path, fails):
    with a_pipe(tmp_path / "config.json", '{"format": "fastblackout-cells"}'):
        assert not is_of_cells(["sample", str(tmp_path)])
        fails(f"sample {tmp_path}", "checkpoint: ", "holds no checkpoint")
    for text in ("[]", "{", '{"format": "other"}'):
        (tmp_path / "config.json").unlink(missing_ok=True)
        (tmp_path / "config.json").write_text(text)
        assert not is_of_cells(["sample", str(tmp_path)])


def test_cells_are_drawn(place, fails):
    assert main(["sample", "--num=5", "--label=small", "--steps=5", "runs/cells", "--json=told.json"]) == 0
    made = anndata.read_h5ad("runs/cells/samples.h5ad")
    assert made.shape == (5, 24) and set(made.obs["type"]) == {"small"} and made.X.dtype == np.int32
    assert told()["cells"] == 5
    line = "sample runs/cells --num=3 --depth=50 --batch=two --steps=5 --seed=4 --out=a.h5ad"
    assert main(line.split()) == 0
    made = anndata.read_h5ad("a.h5ad")
    assert set(made.obs["batch"]) == {"two"} and made.obs["age"].notna().all()
    assert main(f"{line} --covariate=age=70.5 --force".split()) == 0
    assert anndata.read_h5ad("a.h5ad").obs["age"].to_numpy() == pytest.approx(70.5, rel=1e-5)
    fails(line, "out: a.h5ad exists; overwrite it with --force")
    fails(f"{line} --force --covariate=sex=1", "covariates: names must be among 'age', got 'sex'")
    fails(f"{line} --covariate=age", "must be a name and a number, as age=60, got 'age'", status=2)
    fails(f"{line} --out=a.npz", "out: must end in .h5ad, got a.npz")
    fails(f"{line} --out=b.h5ad --label=huge", "sample: label: must be one of 'large', 'small', got 'huge'")
    fails(f"{line} --rounding=nearest", "unrecognized arguments: --rounding=nearest", status=2)


def test_counts_are_imputed(place, fails):
    cells = anndata.read_h5ad("rest.h5ad")
    line = "impute runs/cells rest.h5ad --out=filled.h5ad --steps=4"

    def imputed(more):
        assert main(f"{line} {more}".split()) == 0
        return anndata.read_h5ad("filled.h5ad")

    filled, seen, counts = imputed("--observed=seen"), cells.layers["seen"], cells.X.toarray()
    assert np.array_equal(filled.X.toarray(), counts) and list(filled.obs_names) == list(cells.obs_names)
    assert np.array_equal(filled.layers["imputed"][seen], counts[seen]) and (filled.layers["imputed"][~seen] > 0).all()
    np.save("seen.npy", seen)
    layers = imputed("--observed=seen.npy --draws=2 --force").layers
    assert {"imputed-0", "imputed-1"} <= layers.keys() and "imputed" not in layers
    expected, two = (imputed(f"--denoise --force{more}").layers["expected"] for more in ("", " --batch=two"))
    own = (cells.obs["batch"] == "two").to_numpy()
    assert (expected > 0).all() and np.allclose(two[own], expected[own]) and not np.allclose(two[~own], expected[~own])
    for content, name in ((b"PK\x03\x04", "a.npy"), (npy(seen.astype(int)), "b.npy")):
        (place / name).write_bytes(content)
    for more, words in (
        ("--observed=seen --batch=two", "batch: must be left out without --denoise"),
        ("", "impute: observed, denoise: give one of them, got neither"),
        ("--denoise --observed=seen", "got both"),
        ("--denoise --draws=2", "draws: must be left out with --denoise, got 2"),
        ("--observed=saw", "must be a layer of the file or a .npy file, got 'saw'"),
        ("--observed=a.npy", "impute: observed: a.npy: not a readable .npy file"),
        ("--observed=b.npy", "impute: observed: b.npy: must hold booleans, got"),
    ):
        fails(f"{line} --force {more}", words)
    fails("impute cells.h5ad rest.h5ad --out=x.h5ad --denoise", "folder: must hold a model")
    fails("impute runs/cells rest.h5ad", "required: --out", status=2)


def test_cells_are_compared(place, capsys, monkeypatch, fails):
    monkeypatch.setattr("fastblackout.cells.metrics.TREES", 3)
    line = ["evaluate", "runs/cells", "rest.h5ad", "--train=cells.h5ad", "--steps=4", "--json=told.json"]
    assert main([*line, "--plots=plots"]) == 0
    printed = capsys.readouterr().out
    assert "30 generated and 30 real cells of 24 genes" in printed and max(map(len, printed.splitlines())) <= 80
    found = told()
    assert found["floors"]["energy_distance"] is not None and found["numbers"]["proportions"] == 0
    assert main([*line[:2], "rest.zarr/", *line[3:5], "--json=store.json"]) == 0
    assert told("store.json") == {**found, "plots": []}
    assert {path.name for path in (place / "plots").iterdir()} == {"genes.png", "depth.png", "components.png"}
    fails([*line[:3], "--plots=plots", "--seed=1"], "plots: plots/genes.png exists; overwrite it with --force")
    assert main([*line, "--force", "--seeds=2", "--seed=5"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80 and "means of the seeds 5 to 6" in " ".join(printed.split())
    low, high = told()["intervals"]["energy_distance"]
    assert f"+-{(high - low) / 2:.3f}" in printed
    fails(line, "json: told.json exists")
    fails("evaluate runs/cells", "required: FILE.h5ad", status=2)


def test_a_model_is_trained_anew_by_force_alone(place, capsys, fails):
    fails(TRAIN, "out: runs/cells exists: overwrite it with --force")
    (place / "other").mkdir()
    (place / "other/file").touch()
    fails([*TRAIN, "--out=other", "--force"], "other exists: it is no cell model, or choose another with --out")
    (place / "genes.txt").write_text("gene-4\ngene-2\n")
    assert main([*TRAIN, "--force", "--genes=genes.txt", "--seed=3"]) == 0
    assert "runs/cells: 2 genes, 2 types, 4 steps; held-out loss" in capsys.readouterr().out
    fails([*TRAIN, "--out=new", "--labels=kind"], "train: labels_key: must be a column of obs", "'kind'")
    fails("train none.h5ad", "must be a .h5ad file or a .zarr store, got none.h5ad, which does not exist")


def test_one_training_in_a_folder_and_no_link_is_followed(place, fails):
    with holding("runs/new"):
        fails([*TRAIN, "--out=runs/new"], "train: out: must be in use by no other training", "runs/new")
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


def test_which_commands_are_of_cells(place, fails):
    of_cells = """train a.h5ad, train --steps 3 a.h5ad, train a.zarr/, sample runs/cells,
        evaluate --steps 3 runs/cells b.h5ad"""
    other = """train digits, train h5ad --data a.h5ad, train h5ad --data=a.h5ad, sample, sample digits --out a.h5ad,
        evaluate runs/none, sample digits --out runs/cells, , info, plot runs/cells"""
    for lines, right in ((of_cells, True), (other, False)):
        for line in lines.split(","):
            assert is_of_cells(line.split()) is right, line
    fails("plot runs/cells", "is of a model of cells, not of a training (sample, impute and evaluate take it")
    shutil.rmtree("runs/table")
    fails("sample", "run: there is none in runs/; name one of runs/cells")


def helped(capsys, line):
    with pytest.raises(SystemExit, match="^0$"):
        main(line.split())
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "words"), [("train", "cells.h5ad"), ("sample", "runs/cells"), ("evaluate", "runs/cells")]
)
def test_help_names_the_options_for_cells(capsys, line, words):
    """That of a command which has others for a model of cells."""
    of_cells = helped(capsys, f"{line} {words} --help")
    options = set(re.findall("^  (--[a-z-]+)", of_cells.split("\nhelp:")[0], re.M))
    example = re.match("usage: (.*) \\[OPTION ...]", of_cells)[1]
    for page in (helped(capsys, f"{line} --help"), helped(capsys, f"{line} --help-all")):
        about = page.split("arguments:")[0]
        assert f"`{example} --help` has them." in " ".join(about.split())
        assert options | {"--help"} == set(re.findall("--[a-z-]+", about)) and "--device" in options


def test_options_of_a_training_reach_the_model(place, capsys, fails):
    line = ["train", "cells.h5ad", "--labels=type", "--layer=raw", "--size-factor=depth", "--steps=3", "--width=9"]
    assert main([*line, "--genes=chosen", "--seed=5", "--out=other"]) == 0
    out, err = capsys.readouterr()
    model = CellModel.load("other")
    options = [model.labels_key, model.layer, model.size_factor_key, model.steps, model.width, model.genes, model.rng]
    assert options == ["type", "raw", "depth", 3, 9, "chosen", 5]
    best = min(each["held_out_loss"] for each in model.history_)
    assert f"held-out loss {best:.4f} nats" in out and "training" in err
    assert main([*line, "--out=quiet", "--quiet"]) == 0 and "training" not in capsys.readouterr().err
    (place / "file").touch()
    fails([*line, "--out=file"], "out: file is no folder; choose another with --out")
    fails([*line, "--out=new", "--device=abacus"], "abacus")
    fails([*line, "--out=new", "--json=file"], "json: file exists")


def test_what_is_drawn_is_what_the_model_draws(place, monkeypatch, fails):
    """With the same steps and seeds; and of its genes alone."""
    monkeypatch.setattr("fastblackout.cells.metrics.TREES", 3)
    cells, model = anndata.read_h5ad("rest.h5ad"), CellModel.load("runs/cells")
    assert main(["sample", "runs/cells", "--num=4", "--steps=5", "--seed=4", "--out=a.h5ad"]) == 0
    assert (anndata.read_h5ad("a.h5ad").X != model.sample(4, steps=5, rng=4).X).nnz == 0
    assert main([*TRAIN, "--out=few", "--genes=chosen"]) == 0
    few, seen = CellModel.load("few"), cells.layers["seen"]
    assert (
        main(["impute", "few", "rest.h5ad", "--observed=seen", "--steps=3", "--seed=7", "--draws=1", "--out=b.h5ad"])
        == 0
    )
    filled = anndata.read_h5ad("b.h5ad")
    assert list(filled.var_names) == list(few.genes_) and filled.n_vars == 16
    assert np.array_equal(filled.layers["imputed-0"], few.impute(cells, seen, 1, 3, 7)[0])
    line = "evaluate runs/cells rest.h5ad --steps=3 --seed=7 --json=told.json"
    fails(f"{line} --plots=rest.h5ad/plots", "plots: cannot write", "rest.h5ad/plots")
    assert main(line.split()) == 0
    assert told() == {**model.evaluate(cells, steps=3, rng=7).to_dict(), "plots": []}
    for words in ("sample runs/cells --out=c.h5ad", "impute few rest.h5ad --denoise --out=c.h5ad", line[:30]):
        fails(f"{words} --device=abacus", "abacus")
    fails("sample runs/cells --json=told.json --out=c.h5ad", "json: told.json exists")


def read(path):
    return (anndata.read_h5ad if path.endswith(".h5ad") else anndata.read_zarr)(path).X.toarray()


@pytest.mark.parametrize(
    ("line", "paths", "draw"),
    [
        ("split rest.h5ad a.h5ad b.zarr", "a.h5ad b.zarr", lambda d: fb.cells.split(d, rng=0)),
        ("split rest.zarr a.h5ad b.h5ad --folds=.8,.2 --overdispersion=2 --seed=3 --layer=raw", "a.h5ad b.h5ad",
         lambda d: fb.cells.split(d, (0.8, 0.2), 2.0, layer="raw", rng=3)),
        ("split rest.h5ad a.h5ad b.h5ad c.h5ad", "a.h5ad b.h5ad c.h5ad", lambda d: fb.cells.split(d, 3, rng=0)),
        ("thin rest.h5ad a.h5ad --alive=.5", "a.h5ad", lambda d: [fb.cells.thin(d, 0.5, rng=0)]),
        ("thin rest.zarr a.zarr --alive=.1 --layer=raw --seed=2", "a.zarr",
         lambda d: [fb.cells.thin(d, 0.1, layer="raw", rng=2)]),
        ("downsample rest.h5ad a.h5ad --counts-per-cell=50", "a.h5ad", lambda d: [fb.cells.downsample(d, 50, rng=0)]),
        ("downsample rest.zarr a.h5ad --counts-per-cell=90 --layer=raw --seed=1", "a.h5ad",
         lambda d: [fb.cells.downsample(d, 90, layer="raw", rng=1)]),
    ],
)  # fmt: skip
def test_the_draws_of_files_are_those_in_memory(capsys, line, paths, draw):
    assert main(line.split()) == 0
    assert capsys.readouterr().out.split() == paths.split()
    for path, part in zip(paths.split(), draw(anndata.read_h5ad("rest.h5ad")), strict=True):
        assert np.array_equal(read(path), part.X.toarray())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("split cells.h5ad a.h5ad a.h5ad", "out: must be 2 paths that differ, got a.h5ad twice"),
        ("split cells.h5ad a.h5ad b.h5ad --folds=.5,.2,.3", "out: must be 3 paths that differ, got 2"),
        ("split cells.h5ad a.h5ad", "folds: must be"),
        ("split cells.h5ad a.h5ad cells.h5ad", "out: must not exist yet, got cells.h5ad (adata itself)"),
        ("split none.h5ad a.h5ad b.h5ad", "got none.h5ad, which does not exist"),
        ("split cells.h5ad a.h5ad b.csv", "out: must end in .h5ad or .zarr, got b.csv"),
        ("split cells.h5ad a.h5ad no/b.h5ad", "out: must be in a folder that exists, got no/b.h5ad"),
        ("thin cells.h5ad a.h5ad --alive=1.5", "alive: must be in [0, 1], got 1.5"),
        ("thin cells.h5ad a.h5ad --alive=.5 --layer=no", "layer: must be one of 'rates', 'raw', 'seen', got 'no'"),
        ("downsample cells.h5ad a.h5ad --counts-per-cell=-1", "counts_per_cell: must be whole numbers in 0..2^53"),
        ("downsample cells.h5ad a.h5ad --counts-per-cell=5 --seed=-1", "must be"),
        ("split cells.h5ad", "required: PART"),
        ("split cells.h5ad a.h5ad b.h5ad --folds=x", "must be a number, or numbers with commas, got 'x'"),
        ("thin cells.h5ad a.h5ad", "required: --alive"),
        ("thin cells.h5ad a.h5ad b.h5ad --alive=.5", "unrecognized arguments: b.h5ad"),
        ("downsample cells.h5ad a.h5ad", "required: --counts-per-cell"),
    ],
)
def test_what_is_wrong_with_files_is_named(fails, line, words):
    usage = any(word in words for word in ("required", "commas", "unrecognized"))
    fails(line, f"fastblackout {line.split()[0]}: ", words, status=2 if usage else 1)


def config_of(step):
    return json.loads(Path(f"runs/table/checkpoints/step-{step:08}/config.json").read_text())["config"]


def test_the_names_go_with_the_run_of_a_network(fails):
    config = config_of(4)
    assert config["dataset"]["var_names"] == GENES and config["dataset"]["class_names"] == sorted(TYPES)
    assert config["train"]["conditional"] and config["train"]["head"] == "negative-binomial"
    assert main([*NETWORK, "--resume", "--steps=6", "--quiet"]) == 0  # it remembers layer and column
    assert config_of(6)["dataset"] == config["dataset"]
    fails([*NETWORK, "--resume", "--layer=X"], "layer: a resumed run keeps counts, got X")
    fails([*NETWORK, "--out=new"], "must hold raw counts", "a layer may have them: 'counts'")
    fails("train digits --labels-key=a", "labels_key: belongs to h5ad data alone, got it for digits")
    assert main([*NETWORK, "--layer=counts", "--labels-key=type", "--no-conditional", "--out=plain", *TINY]) == 0
    rule = "label: needs a run trained with --conditional (cells: --labels-key), got B cell"
    fails(["sample", "plain", "--label=B cell"], rule)


def test_samples_of_a_network_are_cells(place, fails):
    for number, name in enumerate(sorted(TYPES)):
        for label in (name, str(number)):
            line = ["sample", "runs/table", "--num=6", f"--label={label}", "--out=one.h5ad", "--force", *FEW]
            assert main(line) == 0
            made = anndata.read_h5ad("one.h5ad")
            # "1" is the name of class 0, and so not the number of class 1
            assert set(made.obs["type"]) == {"1" if label == "1" else name}
            assert made.X.dtype == np.int32 and sp.issparse(made.X) and list(made.var_names) == GENES
    how = ["--num=7", "--first=3", "--seed=5", "--json=told.json", "--force", *FEW]
    assert main(["sample", "runs/table", "--out=all.npz", *how]) == 0
    with np.load("all.npz") as same:
        for more in (["--batch=2"], ["--format=h5ad"]):
            assert main(["sample", "runs/table", "--out=all.h5ad", *more, *how]) == 0
            made = anndata.read_h5ad("all.h5ad")
            assert np.array_equal(made.X.toarray(), same["counts"])
            assert [sorted(TYPES)[label] for label in same["labels"]] == list(made.obs["type"])
    assert list(made.obs_names) == [f"sample-{n}" for n in range(3, 10)]
    assert {"format": "h5ad", "label": None, "files": ["all.h5ad"]}.items() <= told().items()
    assert main(["sample", "runs/table", "--format=h5ad", *FEW]) == 0
    assert (place / "runs/table/samples.h5ad").exists()
    for line, words in (
        ("runs/table --label=Bcell", "label: must be one of '1', 'B cell', 'T cell', or in 0..2, got"),
        ("runs/table --out=all.h5ad", "all.h5ad exists"),
        ("runs/table --format=h5ad --out=new.npz", "must end in .h5ad, got new.npz"),
        ("digits --out=new.h5ad", "format: h5ad needs a table, got samples of shape"),
    ):
        fails(["sample", *line.split(), *FEW], words)


def test_cells_of_another_file_are_compared_by_names(capsys, fails):
    how = ["evaluate", "runs/table", "--num=20", "--seeds=1", "--bits=3", *FEW]
    numbers = []
    for file, *layer in (("table",), ("reversed",), ("others", "--layer=others")):
        assert main([*how, f"--data={file}.h5ad", *layer, "--json=told.json", "--force"]) == 0
        numbers.append(told())
    assert numbers[0] == numbers[1] == numbers[2]
    assert "Difference to the training rows" in capsys.readouterr().out
    fails([*how, "--data=others.h5ad"], "layer: must be one of 'others', got 'counts'")
    fails([*how, "--data=fewer.h5ad"], "must have all 5 genes, by var_names, got none named 'gene-2' and 1 more")
    fails("evaluate digits --layer=others", "layer: belongs to h5ad data alone, got it for digits")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("var_names", GENES[1:]), ("var_names", "genes"), ("var_names", [1, 2, 3, 4, 5]), ("class_names", ["a"]),
        ("class_names", {"a": 1}), ("layer", 3), ("labels_key", ["type"]),
    ],
)  # fmt: skip
def test_what_the_description_of_a_run_cannot_say(place, name, wrong):
    """A run may have come from anybody."""
    file = place / "runs/table/checkpoints/step-00000004/config.json"
    config = json.loads(file.read_text())
    config["config"]["dataset"][name] = wrong
    rewrite_config(file, config)
    with pytest.raises(ValueError, match=f"config.json is damaged: .*{name}.* cannot be right"):
        load_run(place / "runs/table")


def test_without_anndata_it_says_what_is_missing(fails, monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    words = "needs anndata, got none that can be imported; pip install 'fastblackout[cells]'"
    fails([*NETWORK, "--out=new"], words)
    fails(["sample", "runs/table", "--out=new.h5ad", *FEW], words)
