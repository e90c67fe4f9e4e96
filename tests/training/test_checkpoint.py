"""Checkpoints: exact, complete or absent, and refused when damaged, foreign or newer; written by a thread one after the
other, so that no error is lost."""

import json
import signal
import threading

import numpy as np
import pytest
import torch

import fastblackout.training.run as training
from fastblackout.data.dataset import make_dataset
from fastblackout.training.checkpoint import (
    EMA,
    NETWORK,
    OPTIMIZER,
    CheckpointWriter,
    export_checkpoint,
    has_checkpoint,
    load_checkpoint,
    save_checkpoint,
    step_folder,
    tidy,
)
from fastblackout.training.config import TrainConfig
from support.full_disk import no_file_beyond


def tensors(seed=0, size=100):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: {"w": torch.randn(size, generator=generator), "n": torch.tensor(seed), "h": torch.ones(2, 3).bfloat16()}
        for name in (NETWORK, EMA, OPTIMIZER)
    }


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_saved_is_loaded(tmp_path):
    config = {"a": [1, 2.5, None], "b": "ü"}
    path = save_checkpoint(tmp_path, 12, config, tensors(3))
    checkpoint = load_checkpoint(tmp_path)
    assert (checkpoint.step, checkpoint.config, checkpoint.path) == (12, config, path)
    assert load_checkpoint(path) == checkpoint  # the folder itself may be named too
    for name, named in tensors(3).items():
        loaded = checkpoint.tensors(name)
        assert loaded.keys() == named.keys()
        for key in named:
            assert loaded[key].dtype == named[key].dtype
            assert torch.equal(loaded[key], named[key])


def test_the_newest_are_kept(tmp_path):
    for step in (0, 5, 100_000_000, 20):
        save_checkpoint(tmp_path, step, {}, tensors(step % 7), keep=2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000020", "step-100000000"]
    assert load_checkpoint(tmp_path).step == 100_000_000  # by number, not by name


def test_a_second_save_of_a_step_replaces_it(tmp_path):
    save_checkpoint(tmp_path, 1, {}, tensors(1))
    save_checkpoint(tmp_path, 1, {"new": 1}, tensors(2))
    assert load_checkpoint(tmp_path).config == {"new": 1}
    assert torch.equal(load_checkpoint(tmp_path).tensors(EMA)["w"], tensors(2)[EMA]["w"])


@pytest.mark.parametrize("name", [NETWORK, EMA, OPTIMIZER])
def test_damage_is_seen(tmp_path, name):
    file = save_checkpoint(tmp_path, 1, {}, tensors()) / name
    whole = file.read_bytes()
    for content in (whole[:-1], whole[:7], b"", whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"{file}: is damaged"):
            load_checkpoint(tmp_path).tensors(name)
    file.unlink()
    with pytest.raises(ValueError, match="is missing"):
        load_checkpoint(tmp_path).tensors(name)


def test_foreign_and_newer_folders_are_refused(tmp_path):
    file = save_checkpoint(tmp_path, 1, {}, tensors()) / "config.json"
    good = json.loads(file.read_text())
    cases = {
        "not JSON": b'{"format": ',
        "not JSON: ": b"\xff\xfe",
        "not written by fastblackout": json.dumps({"model_type": "bert"}).encode(),
        "no format": b"[1, 2]",
        "format version must be 1, got 2": json.dumps({**good, "format_version": 2}).encode(),
        "is damaged": json.dumps({**good, "step": "one"}).encode(),
        "was changed": json.dumps({**good, "step": 2}).encode(),
    }
    for words, content in cases.items():
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"{file}: .*{words}"):
            load_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="no such run"):
        load_checkpoint(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(tmp_path / "empty")


def test_a_description_that_was_changed_is_refused(tmp_path):
    """One number in it gives other samples without a word; how it is laid out does not matter."""
    config = {"steps": 1000, "rate": 0.1, "names": {2: "b", 10: "a"}}
    file = save_checkpoint(tmp_path, 1, config, tensors()) / "config.json"
    whole = file.read_text()
    assert load_checkpoint(tmp_path).config == {**config, "names": {"2": "b", "10": "a"}}
    file.write_text(json.dumps(dict(reversed(json.loads(whole).items()))))
    assert load_checkpoint(tmp_path).config["steps"] == 1000
    for old, new in (("1000", "1002"), ('"step": 1', '"step": 2'), ("0.1", "0.10000000000000002"), ('"10"', '"11"')):
        assert old in whole
        file.write_text(whole.replace(old, new))
        with pytest.raises(ValueError, match=f"{file}: was changed since it was written.*delete the line"):
            load_checkpoint(tmp_path)
    changed = json.loads(whole.replace("1000", "1002"))
    assert len(changed["files"].pop("config.json")) == 64
    file.write_text(json.dumps(changed))  # as the error says, and as earlier versions wrote it
    with pytest.warns(UserWarning, match="config.json: has no digest of itself"):
        assert load_checkpoint(tmp_path).config["steps"] == 1002


def test_a_key_may_not_be_there_twice(tmp_path):
    file = save_checkpoint(tmp_path, 1, {"a": 1}, tensors()) / "config.json"
    file.write_text(file.read_text().replace('"a": 1', '"a": 1, "a": 1'))
    with pytest.raises(ValueError, match="is missing or not JSON: an object has a key twice"):
        load_checkpoint(tmp_path)


def test_what_a_kill_leaves_is_tidied_away(tmp_path):
    """Half of a checkpoint that was being deleted, and of one that was being written."""
    folder = tmp_path / "checkpoints"
    (folder / ".unfinished-abc").mkdir(parents=True)
    assert not has_checkpoint(tmp_path)
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {}, tensors(step))
    whole = files(tmp_path)
    for left in ("step-00000001", ".unfinished-abc"):
        (folder / left).mkdir()
        (folder / left / "config.json").write_text("{")
    tidy(tmp_path, 2)
    assert files(tmp_path) == whole
    save_checkpoint(tmp_path, 3, {"a": 1}, tensors(4))  # once more
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000002", "step-00000003"]
    assert load_checkpoint(tmp_path).config == {"a": 1}


@pytest.mark.parametrize("limit", [0, 100, 4000])
def test_a_full_disk_leaves_the_older_checkpoint(tmp_path, limit):
    save_checkpoint(tmp_path, 1, {}, tensors(1))
    before = files(tmp_path)
    with no_file_beyond(limit), pytest.raises(OSError, match="too large"):
        save_checkpoint(tmp_path, 2, {}, tensors(2, size=1000), keep=1)
    assert files(tmp_path) == before
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_an_export_holds_the_averaged_weights_alone(tmp_path):
    save_checkpoint(tmp_path / "run", 3, {"a": 1, "run": "0123"}, tensors(1))
    save_checkpoint(tmp_path / "run", 7, {"a": 1, "run": "0123"}, tensors(2))
    folder = export_checkpoint(tmp_path / "run", tmp_path / "model")
    assert sorted(map(str, files(folder))) == ["config.json", EMA]
    exported = load_checkpoint(folder)
    assert (exported.step, exported.config) == (7, {"a": 1})  # "run" is the name of a training on this machine
    assert torch.equal(exported.tensors(EMA)["w"], tensors(2)[EMA]["w"])
    with pytest.raises(ValueError, match="network.safetensors: is missing"):
        exported.tensors(NETWORK)


def test_an_export_that_is_refused_writes_nothing(tmp_path):
    path = save_checkpoint(tmp_path / "run", 3, {}, tensors(1))
    before = files(tmp_path)
    with pytest.raises(ValueError, match="^export: folder: must be a new one.*exists"):
        export_checkpoint(path, tmp_path / "run")
    with pytest.raises(ValueError, match="^export: folder: must be a new one.*no such folder"):
        export_checkpoint(path, tmp_path / "no" / "model")
    (path / EMA).write_bytes(b"")
    with pytest.raises(ValueError, match="is damaged"):
        export_checkpoint(path, tmp_path / "model")
    assert files(tmp_path) == before | {(path / EMA).relative_to(tmp_path): b""}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


CONFIG = TrainConfig(
    steps=13, batch=4, channels=8, threads=1, schedule_steps=20, held_out_every=0, sample_every=0, checkpoint_every=4
)


@pytest.fixture(scope="module")
def data():
    return make_dataset("few", np.arange(20 * 16).reshape(20, 1, 4, 4) % 7, max_count=6)


@pytest.fixture
def gate(monkeypatch):
    """The thread waits at this before it writes."""
    gate, write = threading.Event(), save_checkpoint

    def late(*arguments):
        assert gate.wait(60)
        return write(*arguments)

    monkeypatch.setattr("fastblackout.training.checkpoint.save_checkpoint", late)
    return gate


def test_it_holds_what_was_there_when_it_was_asked_for(tmp_path, gate):
    weight = torch.arange(3.0)
    with CheckpointWriter() as writer:
        writer.save(tmp_path, 1, {}, {NETWORK: {"w": weight}}, 5)
        weight.add_(1.0)
        writer.check()
        assert not has_checkpoint(tmp_path)
        gate.set()
        writer.save(tmp_path, 2, {}, {NETWORK: {"w": weight}}, 5)
        assert step_folder(tmp_path, 1).is_dir()  # the second waits for the first
    for step in (1, 2):
        saved = load_checkpoint(step_folder(tmp_path, step))
        assert torch.equal(saved.tensors(NETWORK)["w"], torch.arange(3.0) + (step - 1))


@pytest.mark.parametrize("stopped", [False, True])
def test_an_error_of_the_thread_ends_the_training(data, tmp_path, monkeypatch, stopped):
    """Also where the training was to end: then what was not saved is not said to be."""
    steps, step, write = [], training.Trainer.train_step, save_checkpoint

    def full(run, number, *more):
        if number > 4:
            raise OSError(28, "No space left on device")
        return write(run, number, *more)

    def counted(self):
        steps.append(self.step)
        if stopped and self.step == 5:
            signal.raise_signal(signal.SIGINT)
        return step(self)

    monkeypatch.setattr("fastblackout.training.checkpoint.save_checkpoint", full)
    monkeypatch.setattr(training.Trainer, "train_step", counted)
    with pytest.raises(OSError, match="No space left"):
        training.train(data, tmp_path / "run", CONFIG, progress=False)
    assert steps[-1] <= 11  # at the latest when the next is begun
    assert load_checkpoint(tmp_path / "run").step == 4
    assert not [path for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.startswith(".")]
    monkeypatch.undo()
    training.train(data, tmp_path / "run", CONFIG, resume=True, progress=False)
    training.train(data, tmp_path / "whole", CONFIG, progress=False)
    one, other = (load_checkpoint(tmp_path / name) for name in ("run", "whole"))
    for name in (NETWORK, EMA, OPTIMIZER):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes()


def test_an_error_is_noticed_without_a_wait(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastblackout.training.checkpoint.save_checkpoint", full)
    writer = CheckpointWriter()
    writer.save(tmp_path, 1, {}, {}, 1)
    with pytest.raises(OSError, match="No space left"):
        for _ in range(6000):
            writer.check()
            threading.Event().wait(0.01)
    writer.check()  # it is told once
    writer.save(tmp_path, 1, {}, {}, 1)
    with pytest.raises(KeyError), writer:
        raise KeyError  # and does not take the place of another


def test_an_error_of_a_step_leaves_the_checkpoint_that_was_begun(data, tmp_path, monkeypatch):
    """The thread begins to write when the step has failed already."""
    failed, step, write = threading.Event(), training.Trainer.train_step, save_checkpoint

    def late(run, number, *more):
        assert number < 4 or failed.wait(60)
        return write(run, number, *more)

    def failing(self):
        if self.step == 4:
            failed.set()
            raise RuntimeError("the lights go out")
        return step(self)

    monkeypatch.setattr("fastblackout.training.checkpoint.save_checkpoint", late)
    monkeypatch.setattr(training.Trainer, "train_step", failing)
    with pytest.raises(RuntimeError, match="lights"):
        training.train(data, tmp_path / "run", CONFIG, progress=False)
    assert load_checkpoint(tmp_path / "run").step == 4
