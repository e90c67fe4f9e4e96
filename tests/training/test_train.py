"""Training: what it learns, and that neither a kill nor a pause changes a bit of it."""

import dataclasses
import json
import re
import signal
import time

import numpy as np
import pytest
import torch

import fastblackout
import fastblackout.training.run as training
from fastblackout.blackout.losses import blackout_loss, loss_unit
from fastblackout.data import load
from fastblackout.data.dataset import make_dataset
from fastblackout.philox import Philox
from fastblackout.training.checkpoint import EMA, NETWORK, OPTIMIZER, load_checkpoint
from fastblackout.training.config import TrainConfig, preset
from fastblackout.training.held_out import images_allowed
from fastblackout.training.trained_model import load_run, make_model
from fastblackout.training.trainer import Trainer
from support.forks import MAIN, Fork

TINY = {"steps": 24, "batch": 8, "channels": 8, "threads": 1, "warmup": 5, "dropout": 0.1, "flip": True, "seed": 3}
TINY |= {"learning_rate": 1e-3, "schedule_steps": 60}
TINY |= {"log_every": 4, "held_out_every": 2, "sample_every": 12, "checkpoint_every": 4}


@pytest.fixture(scope="module")
def data_file(tmp_path_factory):
    """Bright or dark squares of side 2 in a 4x4 image: 40 samples, counts 0..20, two classes."""
    path = tmp_path_factory.mktemp("data") / "squares.npz"
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 3, (40, 4, 4)), np.arange(40) % 2
    for image, label in zip(images, labels, strict=True):
        row, column = rng.integers(0, 3, 2)
        image[row : row + 2, column : column + 2] += 17 if label else 8
    images.flat[0] = 20
    np.savez(path, images=images, labels=labels)
    return path


@pytest.fixture(scope="module")
def data(data_file):
    return load("array", data_file)


def weights(run):
    checkpoint = load_checkpoint(run)
    return {name: (checkpoint.path / name).read_bytes() for name in (NETWORK, EMA, OPTIMIZER)}


def log(run):
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for record in records:
        record.pop("images_per_second", None)  # the one number that is not the same twice
    return records


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    training.train(data, out, TrainConfig(**TINY), progress=False)
    return out


def test_a_run_leaves_what_it_should(uninterrupted):
    pictures = {"loss.png", "samples-00000012.png", "samples-00000024.png"}
    assert {path.name for path in uninterrupted.iterdir()} == pictures | {"checkpoints", "log.jsonl"}
    assert sorted(path.name for path in (uninterrupted / "checkpoints").iterdir()) == ["step-00000020", "step-00000024"]
    records = log(uninterrupted)
    assert [r["step"] for r in records if "loss" in r] == [4, 8, 12, 16, 20, 24]
    held_out = [r for r in records if "held_out_loss" in r]
    assert [r["step"] for r in held_out] == [5, 9, 14, 18, 23, 24]  # the ends of epochs of 36 samples, and the end
    assert len({r["constant_loss"] for r in held_out}) == 1
    assert uninterrupted.joinpath("loss.png").read_bytes().startswith(b"\x89PNG")


def command(data_file, out, *more):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items() if name != "flip"]
    return ["train", "array", "--data", data_file, "--out", out, "--flip", "--quiet", *options, *more]


def wait_for(condition, process):
    for _ in range(6000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("nothing happened for a minute")


def test_sigkill_and_resume_change_no_bit(data_file, uninterrupted, tmp_path):
    out = tmp_path / "run"
    # Killed at whatever it is doing some milliseconds after a checkpoint: a step, or the writing of the next.
    for seen, delay in ((4, 0.02), (12, 0.0)):
        more = ["--resume"] if out.exists() else []
        with Fork(MAIN, *command(data_file, out, *more)) as process:
            wait_for(lambda seen=seen: (out / "checkpoints" / f"step-{seen:08d}").exists(), process)
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert load_checkpoint(out).step >= seen
    assert training.train(load("array", data_file), out, TrainConfig(**TINY), resume=True, progress=False).is_dir()
    assert weights(out) == weights(uninterrupted)
    assert log(out) == log(uninterrupted)
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == ["step-00000020", "step-00000024"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_control_c_and_sigterm_save_and_say_so(data_file, tmp_path, number, status):
    out = tmp_path / "run"
    # A long training would begin with a trial.
    with Fork(MAIN, *command(data_file, out, "--steps=100000", "--compile=off")) as process:
        wait_for(lambda: (out / "checkpoints" / "step-00000004").exists(), process)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == status
    step = load_checkpoint(out).step
    assert stderr == f"fastblackout train: stopped after step {step}; go on with --resume\n"
    assert stdout == ""


@pytest.mark.parametrize("change", [{}, {"batch": 40, "held_out_every": 10}])
def test_held_out_images_are_at_most_a_tenth_of_those_trained_on(data, tmp_path, change):
    config = TrainConfig(**{**TINY, "sample_every": 0, **change})
    training.train(data, tmp_path / "run", config, progress=False)
    held_out = [record for record in log(tmp_path / "run") if "held_out_loss" in record]
    assert held_out
    assert sum(record["held_out_draws"] for record in held_out) <= config.steps * config.batch / 10
    assert all(record["held_out_draws"] % record["held_out_images"] == 0 for record in held_out)
    assert images_allowed(500, 83) >= 2048  # and no fewer than a twentieth of those trained on


@pytest.mark.parametrize(
    ("name", "side", "most"), [("digits", 8, 16), ("mnist-binary", 32, 1), ("mnist", 28, 255), ("cifar10", 32, 255)]
)
def test_by_default_the_network_sees_the_first_particles(name, side, most):
    """Where a thousandth of the particles is alive a count of 0 and one of 1 are at least 0.1 apart in its input."""
    images = np.random.default_rng(0).integers(0, most + 1, (20, 1, side, side)).astype(np.uint8)
    data = make_dataset(name, images, max_count=most)
    for head in ("mean", "beta-binomial"):
        model = make_model(preset(name, head=head, channels=8), data)
        early = int(np.abs(model.schedule.p - 1e-3).argmin())
        assert model.scale(early) >= 0.1


@pytest.mark.slow
def test_it_learns(data, tmp_path):
    """A conditional model of 400 steps beats the best per-pixel constant on the held-out samples by a margin."""
    config = {**TINY, "steps": 400, "batch": 32, "channels": 16, "conditional": True, "flip": False, "dropout": 0.0}
    config |= {"sample_every": 0, "checkpoint_every": 400, "learning_rate": 3e-3, "held_out_every": 100}
    training.train(data, tmp_path / "run", TrainConfig(**config), progress=False)
    last = [record for record in log(tmp_path / "run") if "held_out_loss" in record][-1]
    assert last["held_out_loss"] < last["constant_loss"] - 0.05
    run = load_run(tmp_path / "run")
    labels = torch.arange(40) % 2
    from fastblackout.sampling.sampler import sample

    drawn = sample(run.model, run.schedule, (40, *run.shape), steps=30, rng=Philox(0), labels=labels).float()
    bright, dark = (drawn[labels == label].amax((1, 2, 3)).mean() for label in (1, 0))
    assert bright > 15 > 12 > dark > 6  # squares of 17 to 19 and of 8 to 10


def test_longer_is_a_resume_and_another_run_is_not(data, uninterrupted, tmp_path):
    short = {**TINY, "steps": 12}
    training.train(data, tmp_path / "run", TrainConfig(**short), progress=False)
    with pytest.raises(ValueError, match="out: .* exists; go on with --resume"):
        training.train(data, tmp_path / "run", TrainConfig(**TINY), progress=False)
    with pytest.raises(ValueError, match="batch: a resumed run keeps 8, got 9"):
        training.train(data, tmp_path / "run", TrainConfig(**{**TINY, "batch": 9}), resume=True, progress=False)
    other = dataclasses.replace(data, train=data.train[::-1] // 2)
    with pytest.raises(ValueError, match="a resumed run keeps its data"):
        training.train(other, tmp_path / "run", TrainConfig(**TINY), resume=True, progress=False)
    threads = torch.get_num_threads()
    training.train(data, tmp_path / "run", TrainConfig(**TINY), resume=True, progress=False)
    assert torch.get_num_threads() == threads
    assert weights(tmp_path / "run") == weights(uninterrupted)
    decaying = TrainConfig(**{**TINY, "decay": True})
    with pytest.raises(ValueError, match="keeps its length, 24 steps .*--out.*--no-decay.*, got 30 steps"):
        decaying.resumed_with({"steps": 30})
    assert decaying.resumed_with({"steps": 24}) == decaying
    with pytest.raises(ValueError, match="steps: must be at least the 24 that are done, got 12"):
        training.train(data, tmp_path / "run", TrainConfig(**short), resume=True, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="must be a folder"):
        training.train(data, tmp_path / "file", TrainConfig(**TINY))


def test_epochs(data, tmp_path):
    config, state = TrainConfig(**{**TINY, "epochs": 2, "sample_every": 0}), torch.random.get_rng_state()
    assert config.total_steps(36) == 9
    training.train(data, tmp_path / "run", config, progress=False)
    assert load_checkpoint(tmp_path / "run").step == 9
    assert torch.equal(torch.random.get_rng_state(), state)  # the caller's generator is left alone
    training.train(data, tmp_path / "other", dataclasses.replace(config, seed=4), progress=False)
    assert weights(tmp_path / "other")[NETWORK] != weights(tmp_path / "run")[NETWORK]


@pytest.mark.parametrize("weight", ["likelihood", "finite-time", "instantaneous"])
@pytest.mark.parametrize("max_count", [20, 4000])
def test_the_loss_is_the_formula(weight, max_count, data_file):
    data = load("array", data_file, max_count=max_count)
    model = make_model(TrainConfig(**TINY), data).eval()
    x_0 = torch.from_numpy(data.train[:8])
    k = model.schedule.draw(8, rng=Philox(1), like=x_0)
    loss = blackout_loss(model, model.schedule, x_0, k, Philox(1), weight)
    from fastblackout.ops import thin

    alive, center, scale = model.schedule.survival(k), model.center(k), model.scale(k)
    noised = thin(x_0, alive, rng=Philox(1), max_count=max_count, center=center, scale=scale)
    y = model.gain(k).view(-1, 1, 1, 1) * torch.nn.functional.softplus(model(noised.model_input, k).double())
    plain = (y - noised.births.double() * torch.log(y)).flatten(1).sum(1) * model.schedule.weight(weight, k)
    assert torch.allclose(loss.double(), plain, rtol=1e-5)
    unit = loss_unit(model.schedule, weight, max_count, 16)
    assert 0.01 < abs(float(plain.detach().mean())) * unit < 20


@pytest.mark.parametrize("times", ["uniform", "early"])
def test_batches_and_held_out_samples_have_the_times_asked_for(times, data):
    trainer = Trainer(TrainConfig(**{**TINY, "times": times}), data, {}, torch.device("cpu"))
    how = {"times": times, "max_count": 20}
    schedule, held_out = trainer.model.schedule, trainer.held_out
    wanted = schedule.draw(TINY["batch"], Philox(TINY["seed"], call=0), **how)
    assert torch.equal(trainer.batch().k, wanted)
    assert torch.equal(held_out.k, schedule.draw(len(held_out.x_0), Philox(297), **how))
    assert (times == "early") == (not torch.equal(wanted, schedule.draw(TINY["batch"], Philox(TINY["seed"], call=0))))


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch", 0), ("steps", -1), ("learning_rate", 0.0), ("learning_rate", float("nan")), ("ema", 1.0), ("clip", 0.0),
     ("weight", "paper"), ("input", "raw"), ("network", "big"), ("schedule", "sigmoid"), ("seed", -1), ("keep", 0)],
)  # fmt: skip
def test_wrong_options(name, value):
    with pytest.raises(ValueError, match=f"^train: {name}: "):
        TrainConfig(**{name: value})


def test_more_wrong_options(data, tmp_path):
    assert preset("digits", batch=64).batch == 64
    with pytest.raises(ValueError, match="device: must be"):
        training.train(data, tmp_path / "run", TrainConfig(**{**TINY, "device": "abacus"}), progress=False)
    counts = np.random.default_rng(0).integers(0, 5, (20, 1, 4, 4))
    with pytest.raises(TypeError, match="dataset: must be a fastblackout.data.Dataset .*, got ndarray$") as error:
        training.train(counts, tmp_path / "run")
    said = re.search(r"(fastblackout\.data\.make_dataset\(.*?\)) makes one", str(error.value))[1]
    assert eval(said, {"fastblackout": fastblackout, "counts": counts, "N": 4}).shape == (1, 4, 4)
    stored = TrainConfig(**TINY).to_dict()
    assert TrainConfig.from_dict(stored) == TrainConfig(**TINY)
    with pytest.raises(ValueError, match="difference in batch"):
        TrainConfig.from_dict({key: value for key, value in stored.items() if key != "batch"})
