"""Runs whose files were damaged or made to harm: a named error, or what is whole is used; no crash, no endless wait."""

import copy
import hashlib
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from fastblackout.data import load
from fastblackout.training.checkpoint import EMA, NETWORK, OPTIMIZER, load_checkpoint, save_checkpoint
from fastblackout.training.config import TrainConfig
from fastblackout.training.journal import read_log
from fastblackout.training.run import train
from fastblackout.training.trained_model import load_run
from support.configs import rewrite_config

CONFIG = TrainConfig(
    steps=2, batch=8, channels=8, threads=1, sample_every=0, held_out_every=0, schedule_steps=50, checkpoint_every=1
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "counts.npz"
    np.savez(file, images=np.random.default_rng(0).integers(0, 12, (30, 8, 8)))
    return load("array", file)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    train(data, out, CONFIG, progress=False)
    return out


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def harmed_config(run, *keys, value):
    """Writes config.json of the newest checkpoint with one entry changed, or left out for `value` None."""
    file = load_checkpoint(run).path / "config.json"
    head = json.loads(file.read_text())
    place = head["config"]
    for key in keys[:-1]:
        place = place[key]
    place.pop(keys[-1])
    if value is not None:
        place[keys[-1]] = value
    rewrite_config(file, head)


def refused(run, data, words):
    """By what samples from a run and by what goes on with it."""
    for call in (lambda: load_run(run), lambda: train(data, run, CONFIG, resume=True, progress=False)):
        with pytest.raises(ValueError, match="^checkpoint: ") as error:
            call()
        assert words in str(error.value)
        assert len(str(error.value)) < 1500


CHANGES = [
    (("train",), None, "config.json is damaged: no 'train'"),
    (("train",), [1], "its fields, got list"),
    (("train", "steps"), 1.5, "train: steps: must be an integer, got 1.5"),
    (("train", "batch"), "8", "train: batch: must be an integer, got '8'"),
    (("train", "flip"), 1, "train: flip: must be True or False, got 1"),
    (("train", "clip"), True, "train: clip: must be a number, got True"),
    (("train", "clip"), 10**400, "train: clip: must be above 0 and finite"),
    (("train", "clip"), float("nan"), "JSON has no NaN"),
    (("train", "network"), [], "train: network: must be text, got []"),
    (("train", "threads"), 10**12, "train: threads: must be at most 4096"),
    (("train", "conditional"), True, "dataset.classes cannot be right"),
    (("train", "schedule_steps"), 2 * 10**9, "train: schedule_steps: must be at most 1000000"),
    (("model",), None, "config.json is damaged: no 'model'"),
    (("model",), 5, "config.json is damaged"),
    (("model", "schedule", "steps"), 2 * 10**9, "model.schedule.steps cannot be right"),
    (("dataset",), [[]], "config.json is damaged"),
    (("dataset", "shape"), [1, 8, "8"], "dataset.shape cannot be right"),
    (("dataset", "classes"), 10**9, "dataset.classes cannot be right"),
    (("dataset", "name"), None, "config.json is damaged: no 'name'"),
]


@pytest.mark.parametrize(("keys", "value", "words"), CHANGES, ids=[case[2] for case in CHANGES])
def test_descriptions_of_another_kind(run, data, keys, value, words):
    harmed_config(run, *keys, value=value)
    refused(run, data, words)


MODELS = [
    (("network", "name"), [], "config.json is damaged"),
    (("network", "kwargs", "channels"), 1 << 20, "bytes of weights, but ema.safetensors"),
    (("network", "kwargs", "num_classes"), 10**9, "bytes of weights, but ema.safetensors"),
    (("network", "kwargs", "channels"), 1 << 62, "config.json is damaged"),
    (("network", "kwargs", "blocks"), 10**9, "blocks: must be an integer of 1 to 1024"),
    (("network", "kwargs", "channel_mult"), [1] * 10**5, "channel_mult: must be 1 to 32 integers"),
    (("max_count",), 10**400, "config.json is damaged"),
    (("max_count",), (1 << 53) + 1, "max_count: must be at most 9007199254740992"),
    (("data_mean",), "1", "config.json is damaged"),
    (("schedule", "t_end"), "15", "config.json is damaged"),
]


@pytest.mark.parametrize(("keys", "value", "words"), MODELS, ids=range(len(MODELS)))
def test_descriptions_of_another_model(run, keys, value, words):
    """Refused before memory is taken for a network that the weights are too few for."""
    harmed_config(run, "model", *keys, value=value)
    with pytest.raises(ValueError, match="^checkpoint: .*config.json is damaged") as error:
        load_run(run)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 1_000_000, "config.json: is missing or not JSON"),
        (b"1" * 10_000, "config.json: "),
        (b'{"format": "\0"}', "config.json: is missing or not JSON"),
        (b'{"format": "\xff"}', "config.json: is missing or not JSON"),
        (b" " * ((1 << 24) + 1), "must have at most 16777216 bytes, got 16777217"),
    ],
)
def test_configs_that_are_no_json(run, data, content, words):
    (load_checkpoint(run).path / "config.json").write_bytes(content)
    refused(run, data, words)


def test_other_data_of_the_same_mean(run, data):
    """A resumed run goes on with its own alone; one of before that was kept goes by the mean."""
    longer = TrainConfig(**{**CONFIG.to_dict(), "steps": 3})
    others = {"train": data.train[::-1].copy(), "held_out": data.held_out[::-1].copy()}
    others["train_labels"] = np.zeros(len(data.train), np.int64)
    for name, part in others.items():
        other = replace(data, **{name: part})
        with pytest.raises(ValueError, match="keeps its data, array of mean .* and SHA-256 "):
            train(other, run, longer, resume=True, progress=False)
    harmed_config(run, "dataset", "sha256", value=None)
    train(replace(data, train=others["train"]), run, longer, resume=True, progress=False)
    assert load_checkpoint(run).config["dataset"]["sha256"] != data.sha256
    with pytest.raises(ValueError, match="a resumed run keeps its data"):
        train(data, run, longer, resume=True, progress=False)


def test_files_that_a_killed_training_had_begun(run, data):
    """Found by the 171st round of tests/faults. What another program may be writing there stays."""
    begun, other = [".log.jsonl.a1.tmp", ".loss.png.b2.tmp", ".samples-00000100.png.c3.tmp"], ".counts.npz.d4.tmp"
    for name in (*begun, other):
        (run / name).write_bytes(b"half")
    checkpoints = sorted((run / "checkpoints").iterdir())
    for left in ("step-00000000", ".unfinished-abc"):
        (run / "checkpoints" / left).mkdir()
    with pytest.warns(UserWarning, match=r"removed .*\.tmp, which a process left"):
        train(data, run, CONFIG, resume=True, progress=False)  # also one that has nothing left to do
    assert [path.name for path in run.glob(".*.tmp")] == [other]
    assert sorted((run / "checkpoints").iterdir()) == checkpoints


def test_a_digest_of_data_is_that_of_their_values(data):
    turned = replace(data, train=np.asfortranarray(data.train))
    assert turned.sha256 == data.sha256 == replace(data, name="other").sha256
    shaped = replace(data, train=data.train.reshape(len(data.train), 1, 4, 16))
    assert len({data.sha256, shaped.sha256, replace(data, train=data.train.astype(np.int16)).sha256}) == 3


@pytest.mark.parametrize("step", [True, -1, 1.0, 1 << 32])
def test_steps_of_another_kind(run, data, step):
    file = load_checkpoint(run).path / "config.json"
    rewrite_config(file, {**json.loads(file.read_text()), "step": step})
    refused(run, data, "is damaged: step")


@pytest.mark.parametrize("name", ["config.json", EMA])
def test_devices_and_pipes_are_not_waited_for(run, name):
    file = load_checkpoint(run).path / name
    for make in (lambda: os.mkfifo(file), lambda: os.symlink("/dev/zero", file), lambda: file.mkdir()):
        file.unlink()
        make()
        with pytest.raises(ValueError, match="^checkpoint: "):
            load_run(load_checkpoint(run).path if name != "config.json" else run)
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
            file.touch()


def test_a_file_where_a_checkpoint_belongs(run):
    (run / "checkpoints" / "step-00000009").write_text("")
    with pytest.raises(ValueError, match="step-00000009"):
        load_run(run)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("0.exp_avg"), "does not fit the network: 0"),
        (lambda state: state.update({"0.step": torch.zeros(3)}), "does not fit the network: 0"),
        (lambda state: state.update({"1.exp_avg_sq": torch.zeros(1)}), "does not fit the network: 1"),
        (lambda state: state.update({"9999.step": torch.zeros(())}), "does not fit the network: 9999.step"),
        (lambda state: state.update({"\u00b2.step": torch.zeros(())}), "does not fit the network: \u00b2.step"),
    ],
)
def test_states_of_another_optimizer(run, data, change, words):
    checkpoint = load_checkpoint(run)
    tensors = {name: checkpoint.tensors(name) for name in (NETWORK, EMA, OPTIMIZER)}
    change(tensors[OPTIMIZER])
    save_checkpoint(run, checkpoint.step, checkpoint.config, tensors)
    with pytest.raises(ValueError, match="^checkpoint: .*optimizer.safetensors: ") as error:
        train(data, run, CONFIG, resume=True, progress=False)
    assert words in str(error.value)


@pytest.mark.parametrize("length", [1 << 40, (1 << 64) - 1, 8])
def test_weights_whose_header_lies(run, length):
    checkpoint = load_checkpoint(run)
    content = safetensors.torch.save(checkpoint.tensors(EMA))
    harmed = length.to_bytes(8, "little") + content[8:]
    (checkpoint.path / EMA).write_bytes(harmed)
    head = json.loads((checkpoint.path / "config.json").read_text())
    head["files"][EMA] = hashlib.sha256(harmed).hexdigest()
    rewrite_config(checkpoint.path / "config.json", head)
    with pytest.raises(ValueError, match="ema.safetensors: is not a safetensors file"):
        load_run(run)


def test_lines_of_the_log_that_are_no_records(run, data):
    good = {"step": 1, "epoch": 0, "loss": 0.5, "learning_rate": 1e-3, "images_per_second": 9.0}
    held_out = {"step": 1, "epoch": 0, "held_out_loss": 1.0, "constant_loss": 2.0}
    losses = [{**good, "loss": loss} for loss in ("0.5", None, 10**400)]
    lines = [json.dumps(record) for record in (good, *losses, {"step": 1, "held_out_loss": 1.0}, held_out)]
    lines += ["[" * 50_000, "[" * 1_000_000, '{"step": 1', '{"step": true}', '{"step": "1"}', "1" * 9_000, "\0", ""]
    (run / "log.jsonl").write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\n" + json.dumps(good).encode())
    assert read_log(run / "log.jsonl") == [good, held_out, good]
    train(data, run, TrainConfig(**{**CONFIG.to_dict(), "steps": 4}), resume=True, progress=False)
    assert [record["step"] for record in read_log(run / "log.jsonl")][:3] == [1, 1, 1]
    assert (run / "loss.png").stat().st_size > 0
    (run / "log.jsonl").unlink()
    os.mkfifo(run / "log.jsonl")
    assert read_log(run / "log.jsonl") == []


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("steps", 1.5, "an integer"), ("batch", "8", "an integer"), ("seed", None, "an integer"),
        ("keep", True, "an integer"), ("epochs", 1.5, "an integer"), ("clip", "1", "a number"),
        ("ema", False, "a number"), ("dropout", None, "a number"), ("flip", 1, "True or False"),
        ("conditional", "yes", "True or False"), ("network", None, "text"), ("device", torch.device("cpu"), "text"),
    ],
)  # fmt: skip
def test_options_of_another_type(name, value, rule):
    with pytest.raises(TypeError, match=f"^train: {name}: must be {rule}.*, got "):
        TrainConfig(**{name: value})


def test_numbers_of_numpy_are_options():
    config = TrainConfig(steps=np.int32(7), clip=np.float32(0.5), epochs=np.int64(2), dropout=0)
    assert json.loads(json.dumps(config.to_dict())) == copy.copy(config).to_dict()
    assert (config.steps, config.clip, config.epochs, config.dropout) == (7, 0.5, 2, 0.0)
