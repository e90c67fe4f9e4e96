"""What `mypy --strict` says of a script that trains and samples: every type that it reveals, and every mistake."""

import re
import subprocess
import sys

import pytest

from support import ROOT

pytest.importorskip("mypy", reason="mypy is not installed: pip install mypy")

# Each line is a statement; what follows "is" is the type of the expression before, and "wrong" marks a mistake.
SCRIPT = """
import numpy as np
import torch
import fastblackout as fb
from fastblackout.training.config import TrainConfig
from fastblackout.training.trained_model import load_run

schedule = fb.Schedule.cosine(100)
x = torch.zeros(2, 3, dtype=torch.uint8)
steps = torch.tensor([3, 4])
schedule.survival(3).p  # is float
schedule.survival(steps).q  # is Tensor
schedule.survival(np.arange(3)).q  # is ndarray[float64]
schedule.bridge(steps, 1).p  # is Tensor
schedule.bridge(3, np.arange(3)).p  # is ndarray[float64]
schedule.leap(3, 1, "rate")  # is float
schedule.weight("energy", steps)  # is Tensor
schedule.draw(8)  # is Tensor
schedule.draw(8, like=np.zeros(1))  # is ndarray[int64]
schedule.grid(10, "early", max_count=16)  # is ndarray[int64]
schedule.grid(10, "erly")  # wrong
schedule.weight("likelyhood", 3)  # wrong
schedule.survival("3")  # wrong
fb.Schedule.cosin(100)  # wrong

process = fb.ImmigrationDeath(2.0, 20, boundary="open")
process.sample_forward(x, 0.5)  # is Tensor
process.sample_forward(x.numpy(), 0.5)  # is ndarray[Any]
process.log_prob(x, 3, torch.rand(2))  # is Tensor
process.transition_matrix(0.5)  # is ndarray[Any]
process.transition_matrix(torch.tensor(0.5))  # is Tensor
process.time_change(2.0)  # is ImmigrationDeath
process.stationary()  # is ndarray[float64]
fb.processes.conversion.probs_from_logits(torch.zeros(3))  # is Tensor
fb.processes.sample_reverse(process, lambda x, t: x, (3,), [1.0, 0.0])  # is ndarray[int64]
fb.processes.sample_reverse(process, lambda x, t: x, (3,), [1.0, 0.0], start=x)  # is Tensor
process.sample_forward(x)  # wrong
process.sample_forward(x, 0.5, backend="gpu")  # wrong
fb.ImmigrationDeath(2.0, boundary="close")  # wrong
fb.MarkovProcess(np.zeros((2, 2)), method="exp")  # wrong

model = fb.models.BlackoutModel(fb.models.small((1, 8, 8)), schedule, max_count=16, head="beta-binomial")
model.center(3)  # is float
model.center(steps)  # is Tensor
fb.models.BlackoutModel(fb.models.small((1, 8, 8)), schedule, head="beta_binomial")  # wrong
fb.models.BlackoutModel(fb.models.small((1, 8, 8)), schedule, inputs="unit")  # wrong

data = fb.data.load("digits")
data.held_out_labels  # is ndarray[int64] | None
fb.data.load("digit")  # wrong
fb.train(data, "runs/digits", TrainConfig(head="implicit", precision="bf16"))  # is Path
fb.train(data)  # wrong
TrainConfig(weight="energie")  # wrong
TrainConfig(learning_rte=1e-3)  # wrong
run = load_run("runs/digits", weights="ema")
run.shape  # is tuple[int, int, int]
fb.load_pretrained("digits").model  # is BlackoutModel
fb.load_pretrained("cifar10")  # wrong

fb.sample(run.model, run.schedule, (2, *run.shape), steps=5, grid="early")  # is Tensor
fb.sample(run.model, run.schedule, (2, 1, 8, 8), sampler="tauleap")  # wrong
fb.sample(run.model, run.schedule, (2, 1, 8, 8), last_step="man")  # wrong
fb.sample(run.model, (2, 1, 8, 8))  # wrong
fb.sample(run, run.schedule, (2, 1, 8, 8))  # wrong
fb.bits_per_dim(run.model, run.schedule, x).continuous.bits  # is float
fb.tune(run.model, run.schedule, data, minutes="1")  # wrong
fb.tune(run.model, run.schedule, data)[5].tuned.times  # is tuple[int, ...]
fb.Philox(7).at(call=3)  # is Philox
fb.Philox(7).tensor("cuda")  # is Tensor
fb.use_backend("cdua")  # wrong
"""


def short(revealed):
    """A type as the script says it."""
    for long, name in (
        (r"numpy\.ndarray\[tuple\[Any, \.\.\.\], numpy\.dtype\[Any\]\]", "ndarray[Any]"),
        (r"numpy\.ndarray\[tuple\[Any, \.\.\.\], numpy\.dtype\[numpy\.float64\]\]", "ndarray[float64]"),
        (
            r"numpy\.ndarray\[tuple\[Any, \.\.\.\], numpy\.dtype\[numpy\.signedinteger\[[\w.]*_64Bit\]\]\]",
            "ndarray[int64]",
        ),
        (r"\b(?:builtins|[a-z_]+(?:\.\w+)*)\.(\w+)\b", r"\1"),
    ):
        revealed = re.sub(long, name, revealed)
    return revealed


@pytest.mark.slow
def test_mypy_knows_what_comes_out_and_finds_mistakes(tmp_path):
    lines, expected, wrong = [], {}, set()
    for line in SCRIPT.splitlines():
        code, _, said = line.partition("  # ")
        lines.append(f"reveal_type({code})" if said.startswith("is ") else code)
        if said.startswith("is "):
            expected[len(lines)] = said.removeprefix("is ")
        elif said == "wrong":
            wrong.add(len(lines))
    (tmp_path / "script.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", f"--cache-dir={tmp_path}"]
    done = subprocess.run([*command, f"{tmp_path}/script.py"], cwd=ROOT, capture_output=True, text=True)
    told = re.findall(r'script\.py:(\d+): note: Revealed type is "(.*)"', done.stdout)
    assert {int(line): short(revealed) for line, revealed in told} == expected, done.stdout
    assert {int(line) for line in re.findall(r"script\.py:(\d+): error", done.stdout)} == wrong, done.stdout
