"""What `evaluate` reads: the data the user named, now or at the training on this machine; never what a run names."""

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from fastblackout.cli import main
from fastblackout.training import record as trainings
from support.configs import rewrite_config

TINY = ["--steps=2", "--batch=8", "--channels=8", "--threads=1", "--sample-every=0", "--held-out-every=0", "--quiet"]
EVALUATE = ["evaluate", "--num=4", "--steps=2", "--bits=0", "--threads=1", "--quiet"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with data, a run trained on them, and a user's state."""
    np.savez(tmp_path / "counts.npz", images=np.random.default_rng(0).integers(0, 12, (30, 8, 8)))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    assert main(["train", "array", "--data=counts.npz", *TINY]) == 0
    return tmp_path


def config_of(run):
    file = max(Path(run).glob("checkpoints/*/config.json"))  # of the newest checkpoint
    return file, json.loads(file.read_text())


def refused(capsys, *arguments):
    capsys.readouterr()
    assert main([*EVALUATE, *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "data: must be named with --data" in err
    return err


def test_a_run_is_evaluated_where_it_was_trained(place, capsys, monkeypatch):
    assert main(EVALUATE) == 0
    assert main([*EVALUATE, "runs/array/checkpoints/step-00000002"]) == 0
    monkeypatch.chdir(place / "runs")
    assert main([*EVALUATE, "array"]) == 0  # the path of the data does not hang on the folder one is in
    assert "counts.npz" not in config_of("array")[0].read_text()  # nor does it leave this machine with the run


def test_a_run_from_elsewhere_names_no_data(place, capsys, monkeypatch):
    secret = place / "secret.npy"
    np.save(secret, np.random.default_rng(1).integers(0, 9, (30, 8, 8)))
    shutil.copytree("runs/array", "foreign")
    file, config = config_of("foreign")
    config["config"]["dataset"]["root"] = str(secret)
    rewrite_config(file, config)
    assert "foreign" in refused(capsys, "foreign")
    assert main([*EVALUATE, "foreign", "--data=counts.npz"]) == 0
    # In the place of the user's own run too, under another identity or another data set.
    for key, value in (("run", "0" * 32), ("run", None), ("run", [])):
        harmed = {**config, "config": {**config["config"], key: value}}
        rewrite_config(config_of("runs/array")[0], harmed)
        refused(capsys, "runs/array")
    config["config"]["dataset"]["name"] = "folder"
    rewrite_config(config_of("runs/array")[0], config)
    refused(capsys, "runs/array")


def test_a_run_that_moved_is_told_its_data_once(place, capsys):
    os.rename("runs/array", "moved")
    refused(capsys, "moved")
    identity = config_of("moved")[1]["config"]["run"]
    assert main(["train", "array", "--data=counts.npz", "--out=moved", "--resume", "--steps=3", "--quiet"]) == 0
    assert main([*EVALUATE, "moved"]) == 0
    assert {json.loads(file.read_text())["config"]["run"] for file in Path("moved").rglob("config.json")} == {identity}


def test_records_that_cannot_be_read_or_written_are_no_failure(place, capsys, monkeypatch):
    (record,) = (place / "state/fastblackout/trainings").iterdir()
    whole = record.read_text()
    for content in ("{", "[1]", "[" * 60_000, '{"run": 1}', "\xff", whole.replace('"root": ', '"root": 1, "x": ')):
        record.write_text(content, encoding="latin-1")
        with pytest.warns(UserWarning, match="not readable"):
            refused(capsys)
    record.write_text(whole)
    assert main(EVALUATE) == 0
    (place / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "file"))
    with pytest.warns(UserWarning, match="train: no record of where the data lie"):
        assert main(["train", "array", "--data=counts.npz", "--out=new", *TINY]) == 0
    refused(capsys, "new")


def test_where_records_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for home in ("", "relative/path"):  # the XDG specification: a path that is not absolute does not count
        monkeypatch.setenv("XDG_STATE_HOME", home)
        trainings.remember(tmp_path / "run", "0" * 32, "array", "data")
    (record,) = (tmp_path / "home/.local/state/fastblackout/trainings").iterdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trainings.recall(tmp_path / "run", "0" * 32, "array") == os.path.abspath("data")
        (tmp_path / "link").symlink_to(tmp_path / "run")
        assert trainings.recall(tmp_path / "link", "0" * 32, "array") == os.path.abspath("data")
        assert trainings.recall(tmp_path / "run", "0" * 32, "mnist") is None
        assert trainings.recall(tmp_path / "other", "0" * 32, "array") is None


def test_a_table_of_large_counts_gets_a_head_for_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    words = "head negative-binomial, as counts of this table go up to 257; --head names another"
    for most, given, head in (
        (256, [], "beta-binomial"),
        (257, [], "negative-binomial"),
        (257, ["--head=mean"], "mean"),
    ):
        counts = np.random.default_rng(0).integers(0, most, (30, 4))
        counts[3, 2] = counts[-1, 1] = most
        np.save("counts.npy", counts)
        capsys.readouterr()
        assert main(["train", "array", "--data=counts.npy", f"--out={most}{head}", *TINY, *given]) == 0
        assert config_of(f"{most}{head}")[1]["config"]["train"]["head"] == head
        assert (words in capsys.readouterr().out) == (head == "negative-binomial")
