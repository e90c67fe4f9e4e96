"""Recipes: that they are what their sources say, make trainings, give way to options, and state their time."""

import json
import re

import pytest
import torch

from fastblackout.cli import main
from fastblackout.cli.command_line import build_parser
from fastblackout.data import shaping_of
from fastblackout.models import NetworkConfig
from fastblackout.pretrained import load_pretrained
from fastblackout.training.config import TrainConfig, preset
from fastblackout.training.recipes import RECIPES, options_of, time_on_h100
from support.mnist import mnist_files

ALL = [(dataset, name) for dataset, known in RECIPES.items() for name in known]
BIG = [(dataset, name) for dataset, name in ALL if RECIPES[dataset][name].options.get("network", "small") != "small"]


@pytest.mark.parametrize(("dataset", "name"), ALL)
def test_every_recipe_is_a_training(dataset, name):
    recipe = RECIPES[dataset][name]
    config = preset(dataset, **options_of(dataset, name, {}))
    assert {option: getattr(config, option) for option in recipe.options} == recipe.options
    assert "derived" in recipe.time or "measured" in recipe.time
    sample = build_parser().parse_args(["sample", *recipe.sample.split()])
    assert sample.steps is None or sample.steps <= config.schedule_steps
    if recipe.options:  # all that tells one training from another is named, not left to defaults
        needed = "network dropout head input schedule schedule_steps weight learning_rate warmup clip decay ema batch"
        needed += " flip steps" + " parametrization" * (recipe.options["head"] == "mean")
        assert set(needed.split()) <= set(recipe.options)
    else:
        assert config == preset(dataset)


@pytest.mark.parametrize("dataset", ["digits", "mnist", "fashion-mnist"])
def test_models_that_come_with_the_package_are_of_recipe_best(dataset):
    how = {"threads": 1, "compile": "on", "held_out_every": 5000, "sample_every": 0}  # with which these two were made
    given = {} if dataset == "digits" else how
    assert load_pretrained(dataset).config == preset(dataset, **options_of(dataset, "best", given))


@pytest.mark.parametrize(
    ("dataset", "weight", "t_end", "batch", "flip"),
    [("cifar10", "finite-time", 15.0, 256, True), ("celeba64", "instantaneous", 15.0, 100, False),
     ("mnist-binary", "instantaneous", 10.0, 256, False)],
)  # fmt: skip
def test_the_papers_setting(dataset, weight, t_end, batch, flip):
    config = preset(dataset, **options_of(dataset, "paper", {}))
    assert (config.weight, config.t_end, config.batch, config.flip) == (weight, t_end, batch, flip)
    assert (config.head, config.parametrization, config.input) == ("mean", "paper", "reference")
    assert (config.schedule, config.schedule_steps, config.dropout, config.ema) == ("logit", 1000, 0.1, 0.9999)
    assert (config.learning_rate, config.warmup, config.decay) == (2e-4, 0, False)
    assert config.clip > 1e20  # no gradient of finite numbers is clipped
    known = {"cifar10": {}, "celeba64": {"crop": 140, "resize": 64}, "mnist-binary": {"resize": 32, "binarize": 128}}
    assert {option: value for option, value in shaping_of(dataset).items() if value is not None} == known[dataset]


def test_what_is_given_wins():
    given = {"batch": 64, "weight": "instantaneous", "flip": False}
    config = preset("cifar10", **options_of("cifar10", "paper", given))
    assert (config.batch, config.weight, config.flip, config.network) == (64, "instantaneous", False, "cifar10")
    config = preset("cifar10", **options_of("cifar10", "paper", {"head": "implicit", "draws": 4}))
    assert (config.weight, config.schedule, config.draws, config.batch) == ("energy", "cosine", 4, 256)
    config = preset("cifar10", **options_of("cifar10", "best", {"head": "mean"}))
    assert (config.weight, config.schedule) == ("likelihood", "logit")
    config = preset("cifar10", **options_of("cifar10", "best", {"epochs": 3}))
    assert (config.epochs, config.steps) == (3, TrainConfig.steps)
    assert options_of("folder", None, given) == given
    for dataset, name, words in (
        ("folder", "best", "train: recipe: there is none for folder, leave it out, got best"),
        ("digits", "paper", "train: recipe: must be best for digits, got paper"),
    ):
        with pytest.raises(ValueError) as error:
            options_of(dataset, name, {})
        assert str(error.value) == words


def network_of(dataset, name):
    """The network of a recipe without its weights, and the shape of its images."""
    config = preset(dataset, **options_of(dataset, name, {}))
    outputs = 2 if config.head == "beta-binomial" else 1
    with torch.device("meta"):
        return NetworkConfig(config.network, {"outputs": outputs}).build()


@pytest.mark.slow
def test_networks_have_the_papers_size():
    counts = {d: sum(p.numel() for p in network_of(d, n).parameters()) for d, n in BIG if n == "paper"}
    assert counts == {"cifar10": 62_693_251, "celeba64": 62_693_251, "mnist-binary": 62_686_337}


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "name"), BIG)
def test_times_follow_from_the_operations_counted(dataset, name):
    from torch.utils.flop_counter import FlopCounterMode

    shape = {"cifar10": (3, 32, 32), "celeba64": (3, 64, 64), "mnist-binary": (1, 32, 32)}[dataset]
    network = network_of(dataset, name)
    with torch.device("meta"):
        image, time = torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        network(image, time).sum().backward()
    recipe = RECIPES[dataset][name]
    gigaflop = counter.get_total_flops() / 1e9
    (stated,) = re.findall(r"(\d+) GFLOP an image", recipe.time)
    assert int(stated) == pytest.approx(gigaflop, rel=0.01)
    exact = time_on_h100(gigaflop, recipe.options["steps"], recipe.options["batch"])
    for mine, theirs in zip(re.findall(r"\d+", recipe.time)[:2], re.findall(r"\d+", exact)[:2], strict=True):
        assert abs(int(mine) - int(theirs)) <= 1


def test_the_command_line_takes_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    mnist_files(tmp_path)
    train = ["train", "mnist-binary", "--data=.", "--recipe=paper", "--network=small", "--channels=8", "--batch=4"]
    train += ["--threads=1", "--sample-every=0", "--held-out-every=0", "--quiet"]
    assert main([*train, "--steps=1"]) == 0
    (file,) = tmp_path.glob("runs/mnist-binary/checkpoints/step-00000001/config.json")
    config = json.loads(file.read_text())["config"]
    given = {"network": "small", "channels": 8, "batch": 4, "steps": 1, "threads": 1, "sample_every": 0}
    wanted = options_of("mnist-binary", "paper", given | {"held_out_every": 0})
    assert config["train"] == preset("mnist-binary", **wanted).to_dict()
    assert (config["model"]["parametrization"], config["model"]["max_count"]) == ("paper", 1)
    assert (config["dataset"]["resize"], config["dataset"]["binarize"]) == (32, 128)
    assert main([*train, "--steps=2", "--resume"]) == 0  # the same line with --resume goes on
    capsys.readouterr()
    assert main([*train, "--steps=3", "--resume", "--recipe=best"]) == 1
    assert "a resumed run keeps" in capsys.readouterr().err
    assert main(["train", "array", "--data=a.npy", "--recipe=best"]) == 1
    assert "recipe: there is none for array" in capsys.readouterr().err


def test_help_and_info_tell_of_them(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "cifar10: paper, best" in text and "digits: best" in text
    assert main(["info"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for dataset, name in ALL:
        assert f"{dataset} {name} {RECIPES[dataset][name].about}; {RECIPES[dataset][name].time}" in text
