"""Trainings of a network of one's own in loops of torch, Lightning, accelerate and diffusers."""

import importlib.util

import pytest
import torch

from support import ROOT
from support.helpers import load_example

torch.set_num_threads(1)
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture(scope="module")
def plain():
    return load_example("plain_loop").train(60)


def test_a_plain_loop_learns(plain):
    losses, samples = plain
    assert len(losses) == 60 and sum(losses[-10:]) < 0.9 * sum(losses[:10])
    assert samples.shape == (16, 1, 8, 8) and 3 < samples.double().mean() < 7  # 4.9 of the data


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("package", "options"), [("accelerate", {}), ("lightning", {"accelerator": "cpu", "devices": 1, **QUIET})]
)
def test_loops_of_other_packages_do_the_same(package, options, plain, tmp_path, monkeypatch):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install {package}")
    monkeypatch.chdir(tmp_path)
    losses, samples = load_example(f"{package}_loop").train(60, **options)
    assert losses == plain[0] and torch.equal(samples, plain[1])


@pytest.mark.filterwarnings("ignore")
def test_the_loop_of_diffusers_learns_with_few_lines_changed(tmp_path):
    for package in ("diffusers", "accelerate"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'fastblackout[diffusers]'")
    script = load_example("diffusers_training")
    losses, pipeline = script.train_loop(1, tmp_path)
    assert len(losses) == 30 and sum(losses[-5:]) < 0.8 * sum(losses[:5])
    pipeline.set_progress_bar_config(disable=True)
    again = script.BlackoutPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    how = {"num_inference_steps": 4, "generator": 1, "output_type": "counts"}
    assert torch.equal(pipeline(2, **how).images, again(2, **how).images)
    text = (ROOT / "examples/diffusers_training.py").read_text()
    assert 0 < text.count("# changed") < 15
