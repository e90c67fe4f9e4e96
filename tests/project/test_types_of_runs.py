"""What a type checker knows of a script that trains and samples: every type, and every mistake."""

import pytest

from support.type_checkers import CHECKERS

SCRIPT = """
from pathlib import Path
from typing import Any, assert_type
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
import fastblackout as fb
from fastblackout.training.config import TrainConfig

schedule = fb.Schedule.cosine(100)
x = torch.zeros(2, 3, dtype=torch.uint8)
steps = torch.tensor([3, 4])
assert_type(schedule.survival(3).p, float)
assert_type(schedule.survival(steps).q, Tensor)
assert_type(schedule.survival(np.arange(3)).q, NDArray[np.float64])
assert_type(schedule.bridge(steps, 1).p, Tensor)
assert_type(schedule.bridge(3, np.arange(3)).p, NDArray[np.float64])
assert_type(schedule.leap(3, 1, "rate"), float)
assert_type(schedule.weight("energy", steps), Tensor)
assert_type(schedule.draw(8), Tensor)
assert_type(schedule.draw(8, like=np.zeros(1)), NDArray[np.int64])
assert_type(schedule.grid(10, "early", max_count=16), NDArray[np.int64])
schedule.grid(10, "erly")  # wrong
schedule.weight("likelyhood", 3)  # wrong
schedule.survival("3")  # wrong
fb.Schedule.cosin(100)  # wrong

process = fb.ImmigrationDeath(2.0, 20, boundary="open")
assert_type(process.sample_forward(x, 0.5), Tensor)
assert_type(process.sample_forward(x.numpy(), 0.5), NDArray[Any])
assert_type(process.log_prob(x, 3, torch.rand(2)), Tensor)
assert_type(process.transition_matrix(0.5), NDArray[Any])
assert_type(process.transition_matrix(torch.tensor(0.5)), Tensor)
assert_type(process.time_change(2.0), fb.ImmigrationDeath)
assert_type(process.stationary(), NDArray[np.float64])
assert_type(fb.processes.conversion.probs_from_logits(torch.zeros(3)), Tensor)
assert_type(fb.processes.sample_reverse(process, lambda x, t: x, (3,), [1.0, 0.0]), NDArray[np.int64])
assert_type(fb.processes.sample_reverse(process, lambda x, t: x, (3,), [1.0, 0.0], start=x), Tensor)
process.sample_forward(x)  # wrong
process.sample_forward(x, 0.5, backend="gpu")  # wrong
fb.ImmigrationDeath(2.0, boundary="close")  # wrong
fb.MarkovProcess(np.zeros((2, 2)), method="exp")  # wrong

model = fb.BlackoutModel(fb.models.small((1, 8, 8)), schedule, max_count=16, head="beta-binomial")
assert_type(model.center(3), float)
assert_type(model.center(steps), Tensor)
fb.BlackoutModel(fb.models.small((1, 8, 8)), schedule, 255, head="beta_binomial")  # wrong
fb.BlackoutModel(fb.models.small((1, 8, 8)), schedule, 255, inputs="unit")  # wrong
fb.BlackoutModel(fb.models.small((1, 8, 8)), schedule)  # wrong
assert_type(model.fit_input(x), fb.BlackoutModel)
assert_type(model.loss(x, rng=3), Tensor)
assert_type(fb.loss(torch.nn.DataParallel(model), x, rng=fb.Philox(3).tensor("cpu")), Tensor)
assert_type(model.sample((2, 1, 8, 8), 5, rng=3, grid="early"), Tensor)
assert_type(model.bits_per_dim(x, rng=3).discrete.bits, float)
assert_type(model.impute(x, x > 0, draws=3), Tensor)
assert_type(model.save_pretrained("model"), Path)
assert_type(fb.BlackoutModel.from_pretrained("model"), fb.BlackoutModel)
model.loss(x, rgn=3)  # wrong
model.sample((2, 1, 8, 8), grid="erly")  # wrong
model.bits_per_dim(x, repeat=3)  # wrong
model.impute(x)  # wrong

data = fb.data.load("digits")
assert_type(data.held_out_labels, NDArray[np.int64] | None)
fb.data.load("digit")  # wrong
assert_type(fb.train(data, "runs/digits", TrainConfig(head="implicit", precision="bf16")), Path)
fb.train(data)  # wrong
TrainConfig(weight="energie")  # wrong
TrainConfig(learning_rte=1e-3)  # wrong
run = fb.load_run("runs/digits", weights="ema")
assert_type(run.shape, tuple[int, int, int])
assert_type(fb.load_pretrained("digits").model, fb.BlackoutModel)
fb.load_pretrained("cifar10")  # wrong

assert_type(fb.sample(run.model, run.schedule, (2, *run.shape), steps=5, grid="early"), Tensor)
fb.sample(run.model, run.schedule, (2, 1, 8, 8), sampler="tauleap")  # wrong
fb.sample(run.model, run.schedule, (2, 1, 8, 8), last_step="man")  # wrong
fb.sample(run.model, (2, 1, 8, 8))  # wrong
fb.sample(run, run.schedule, (2, 1, 8, 8))  # wrong
assert_type(fb.bits_per_dim(run.model, run.schedule, x).continuous.bits, float)
fb.tune(run.model, run.schedule, data, minutes="1")  # wrong
assert_type(fb.tune(run.model, run.schedule, data)[5].tuned.times, tuple[int, ...])
assert_type(fb.Philox(7).at(call=3), fb.Philox)
assert_type(fb.Philox(7).tensor("cuda"), Tensor)
fb.use_backend("cdua")  # wrong
"""


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_script_is_checked(checker, tmp_path):
    """Each line that says "wrong" is an error, and no other."""
    program = tmp_path / "program.py"
    program.write_text(SCRIPT)
    found, report = checker(program)
    lines = SCRIPT.splitlines()
    assert {lines[line - 1] for line in found} == {line for line in lines if line.endswith("# wrong")}, report
