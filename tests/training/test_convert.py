"""Other programs' checkpoints as runs: generated as they save them, small, of the real architecture."""

import copy
import functools
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from fastblackout.cli.command_line import main
from fastblackout.models import NCSNpp, cifar10
from fastblackout.models.score_sde import architecture_of
from fastblackout.training.convert import convert
from fastblackout.training.trained_model import load_run

SIZES = {
    "cifar10": {"in_channels": 3, "channels": 8, "channel_mult": [1, 2, 2], "blocks": 2, "attention_levels": [1]},
    "mnist-binary": {"in_channels": 1, "channels": 12, "channel_mult": [1], "blocks": 2, "attention_levels": [0]},
    "celeba64": {"in_channels": 3, "channels": 4, "channel_mult": [2, 1], "blocks": 1, "attention_levels": []},
}


def network_of(dataset="cifar10", seed=0, **changes):
    torch.manual_seed(seed)
    network = NCSNpp(**{**SIZES[dataset], "sigmas": 20, "dropout": 0.1, **changes}).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def checkpoint_of(network, average, program="lanl"):
    """What the programs hand to torch.save: a network in DataParallel, an average without names, an optimizer."""
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-4)
    network(torch.zeros(1, network.in_channels, 8, 8), torch.zeros(1).long()).sum().backward()
    optimizer.step()
    content = {
        "optimizer": optimizer.state_dict(),
        "model": torch.nn.DataParallel(network).state_dict(),
        "ema": {"decay": 0.9999, "num_updates": 7, "shadow_params": [p.detach() for p in average.parameters()]},
        "step": 7,
    }
    if program == "lanl":  # their losses are NumPy arrays of no dimension
        content |= {"lossHistory": [np.array(0.5, np.float32)] * 3, "evalLossHistory": [np.float32(0.25)]}
    return content


@functools.cache
def _content():
    return checkpoint_of(network_of(), network_of(seed=1))


@pytest.fixture
def content():
    return copy.deepcopy(_content())


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("program", ["lanl", "score-sde"])
@pytest.mark.parametrize("dataset", SIZES)
def test_the_run_is_the_network_that_was_saved(dataset, program):
    network, average = network_of(dataset), network_of(dataset, seed=1)
    torch.save(checkpoint_of(network, average, program), "theirs.pth")
    saved = convert("theirs.pth", "run", program, dataset)
    assert saved.name == "step-00000007"
    side = 64 if dataset == "celeba64" else 32
    x, time = 100 * torch.rand(2, network.in_channels, side, side), torch.tensor([3, 19])
    for weights, source in (("network", network), ("ema", average)):
        run = load_run("run", "cpu", weights)
        model = run.model
        with torch.no_grad():
            torch.testing.assert_close(model(x, time + 1), source(x, time), rtol=0, atol=1e-6)
        assert run.shape == (network.in_channels, side, side)
        described = (model.head, model.parametrization, model.input, model.max_count, model.schedule.steps)
        assert described == ("mean", "paper", "reference", 1 if dataset == "mnist-binary" else 255, 20)
        assert model.schedule.to_dict()["t_end"] == (10.0 if dataset == "mnist-binary" else 15.0)
        assert model.network.config.kwargs["dropout"] == 0.1


def test_the_command_line(content, capsys):
    torch.save(content, "theirs.pth")
    assert main(["convert", "theirs.pth", "runs/authors", "--from", "lanl", "--dataset", "cifar10"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "runs/authors/checkpoints/step-00000007"
    assert main(["sample", "--compat", "lanl-2023", "--num", "2", "--steps", "4", "--threads", "1", "--quiet"]) == 0
    assert np.load("runs/authors/samples.npz")["images"].shape == (2, 3, 32, 32)
    told = json.loads(Path("runs/authors/checkpoints/step-00000007/config.json").read_text())["config"]["converted"]
    assert told["from"] == "lanl" and len(told["sha256"]) == 64 and "theirs" not in json.dumps(told)
    assert main(["convert", "theirs.pth", "runs/authors", "--from", "lanl", "--dataset", "cifar10"]) == 1
    assert "convert: out: runs/authors exists; choose another" in capsys.readouterr().err.replace("blackout ", "")
    assert main(["convert", "theirs.pth", "new", "--from", "countsdiff", "--dataset", "cifar10"]) == 1
    error = capsys.readouterr().err
    assert "UNet2DModel" in error and "none of these networks" in error and error.count("\n") == 1


def test_the_architecture_of_the_paper_is_told():
    with torch.device("meta"):
        network = cifar10()
    told = architecture_of(network.state_dict())
    assert told == {name: network.config.kwargs[name] for name in told} and told["blocks"] == 4


def test_a_large_number_in_a_name_takes_no_memory():
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="must hold every module of an NCSN.., got no all_modules.0$"):
            architecture_of({"all_modules.1000000.weight": torch.zeros(1)})
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def _renamed(content, old, new):
    content["model"] = {name.replace(old, new): value for name, value in content["model"].items()}


def _set(content, name, value):
    content["model"]["module." + name] = value


class Harmful:
    """Pickled as a call that makes a file."""

    def __reduce__(self):
        return os.mkdir, ("harmed",)


HARMS = [
    (lambda c: c["model"].pop("module.all_modules.4.Conv_0.bias"), "got no all_modules.4.Conv_0.bias"),
    (lambda c: _set(c, "all_modules.4.Conv_9.bias", torch.zeros(3)), "got the unexpected all_modules.4.Conv_9.bias"),
    (lambda c: _set(c, "class.weight", torch.zeros(3)), "must hold an NCSN++ (all_modules.N...), got class.weight"),
    (
        lambda c: _set(c, "all_modules.4.Conv_0.bias", torch.zeros(3)),
        "got all_modules.4.Conv_0.bias of shape (3,) in place of (8,)",
    ),
    (lambda c: _renamed(c, "all_modules.9.", "all_modules.99."), "got no all_modules.9"),
    (lambda c: _set(c, "all_modules.0.W", torch.zeros(3)), "got a Fourier embedding"),
    (lambda c: _renamed(c, ".Dense_0.", ".Time_0."), "got all_modules.3"),
    (lambda c: _set(c, "all_modules.0.weight", torch.zeros(1).expand(28, 7)), "whole multiples of 7 channels"),
    (lambda c: _set(c, "all_modules.4.Conv_0.bias", torch.full((8,), np.nan)), "must hold finite weights"),
    (lambda c: _set(c, "all_modules.4.Conv_0.bias", torch.zeros(8).long()), "model: must be a state dict of real"),
    (lambda c: c["ema"]["shadow_params"].pop(), "ema: must match the network's parameters, got"),
    (lambda c: c["ema"]["shadow_params"].insert(3, c["ema"]["shadow_params"].pop()), "in place of"),
    (lambda c: c["ema"].clear(), "ema: must have a list of tensors shadow_params"),
    (lambda c: c.pop("ema"), "must have the keys ema, lossHistory, model, step"),
    (lambda c: c.update(model_br={}), "as lanl writes them, got ema"),
    (lambda c: c.update(step=-1), "step: must be an integer in 0..2^32 - 1, got -1"),
    (
        lambda c: c.update(lossHistory=[Harmful()]),
        f"tensors and numbers alone, got another: it asks for '{os.name}.mkdir'",
    ),
    (
        lambda c: c.update({f"loss{n}" * 99: 0 for n in range(20)}),
        "as lanl writes them, got ema, evalLossHistory, loss0",
    ),
    (lambda c: _set(c, "a" * 1000, torch.zeros(1)), "model: must be a state dict of real tensors, got something else"),
]


@pytest.mark.parametrize("number", range(len(HARMS)))
def test_what_does_not_fit_is_told_before_anything_is_written(content, number, capsys):
    harm, words = HARMS[number]
    harm(content)
    torch.save(content, "theirs.pth")
    assert main(["convert", "theirs.pth", "run", "--from", "lanl", "--dataset", "cifar10"]) == 1
    error = capsys.readouterr().err
    assert words in error and error.startswith("fastblackout convert: theirs.pth: ") and len(error) < 700
    assert os.listdir() == ["theirs.pth"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nothing.pth run --from lanl --dataset cifar10", "nothing.pth: no such file"),
        (
            "theirs.pth run --from lanl --dataset mnist-binary",
            "must be for the 1x32x32 of mnist-binary, got 3 channels",
        ),
        ("theirs.pth run --from score-sde --dataset cifar10", "as score-sde writes them, got ema, evalLossHistory"),
        ("half.pth run --from lanl --dataset cifar10", "half.pth: must be a file of torch.save"),
        ("text.pth run --from lanl --dataset cifar10", "text.pth: must be a file of torch.save"),
        ("bad.npy run --from lanl --dataset cifar10", "neither an archive nor the pickles that torch.save writes"),
        (". run --from lanl --dataset cifar10", "must be a plain file"),
        ("theirs.pth theirs.pth --from lanl --dataset cifar10", "out: theirs.pth exists"),
    ],
)
def test_wrong_files_and_arguments(content, line, words, capsys, place):
    torch.save(content, "theirs.pth")
    whole = (place / "theirs.pth").read_bytes()
    (place / "half.pth").write_bytes(whole[: len(whole) // 2])
    (place / "text.pth").write_text("no checkpoint")
    np.save(place / "bad.npy", np.arange(3))
    assert main(["convert", *line.split()]) == 1
    assert words in capsys.readouterr().err
    assert sorted(os.listdir()) == ["bad.npy", "half.pth", "text.pth", "theirs.pth"]
    assert (place / "theirs.pth").read_bytes() == whole


def test_images_that_a_network_cannot_halve_so_often():
    network = network_of(channel_mult=[1] * 7, blocks=1)
    ema = {"shadow_params": list(network.parameters())}
    torch.save({"model": network.state_dict(), "ema": ema, "step": 0}, "theirs.pth")
    with pytest.raises(ValueError, match="must be for the 3x32x32 of cifar10, got 3 channels and 7 levels"):
        convert("theirs.pth", "run", "score-sde", "cifar10")
    assert convert("theirs.pth", "run", "score-sde", "celeba64").is_dir()


def test_a_network_larger_than_its_file_is_not_built(content):
    """A tensor can claim a size that it has no memory for."""
    huge = {name: value.new_zeros(1).expand(value.shape) for name, value in content["model"].items()}
    content["model"] = huge
    content.pop("optimizer")
    content["ema"]["shadow_params"] = [
        value.new_zeros(1).expand(value.shape) for value in content["ema"]["shadow_params"]
    ]
    torch.save(content, "theirs.pth")
    with pytest.raises(ValueError, match="bytes of weights"):
        convert("theirs.pth", "run", "lanl", "cifar10")


def test_a_disk_that_is_full_leaves_nothing(content, monkeypatch):
    def full(*arguments, **more):
        raise OSError("full")

    torch.save(content, "theirs.pth")
    monkeypatch.setattr("fastblackout.training.checkpoint._write", full)
    with pytest.raises(OSError, match="full"):
        convert("theirs.pth", "run", "lanl", "cifar10")
    assert os.listdir() == ["theirs.pth"]
