"""What type checkers know of the package: its names, that arrays come out as what went in, of a script that trains and
samples every type, and mistakes of both."""

import ast
import inspect
import re
import subprocess
import sys
from typing import get_args

import pytest

import fastblackout as fb
from fastblackout import data, pretrained, typing
from fastblackout.arrays import COUNTS, FLOATS
from fastblackout.backends import available
from fastblackout.call.head import FAMILIES
from fastblackout.heads import HEADS
from fastblackout.ops.bridge import OUTPUTS as STEP_OUTPUTS
from fastblackout.ops.capabilities import public_ops
from fastblackout.ops.thin import OUTPUTS as THIN_OUTPUTS
from fastblackout.sampling.names import SAMPLERS
from fastblackout.schedule.times import GRIDS
from support import ROOT
from support.type_checkers import CHECKERS

NONE = ("thinn", "nonexistent", "data.lod", "models.Nope", "sampling.smaple", "processes.Enrenfest")
HEAD = """
def script(
    x: Tensor, y: Tensor, p: Tensor, n: NDArray[np.uint8], f: NDArray[np.float32], key: fb.Philox, a: Any
) -> None:
"""
# A call of each op with {0} for counts and {1} for floats, of tensors or of NumPy's arrays.
CALLS = {
    "bessel": "fb.bessel({0}, 1.0, rng=key)",
    "bessel_log_prob": "fb.bessel_log_prob({0}, 1, 4.0)",
    "beta": "fb.beta({1}, 2.0, rng=key)",
    "beta_binomial": "fb.beta_binomial({0}, 0.5, {1}, rng=7)",
    "beta_binomial_log_prob": "fb.beta_binomial_log_prob({0}, 10, 0.5, 0.5)",
    "beta_log_prob": "fb.beta_log_prob(0.5, {1}, 3.0)",
    "binomial": "fb.binomial(10, {1}, backend='cpu')",
    "binomial_log_prob": "fb.binomial_log_prob({0}, 10, 0.5)",
    "birth_loss": "fb.birth_loss({1}, {0}, 1.0, gain=np.ones(2))",
    "bridge_log_prob": "fb.bridge_log_prob({0}, {0}, {0}, 0.5)",
    "bridge_step": "fb.bridge_step({0}, {1}, fb.Prob(0.5, 0.5), rounding='nearest').x_s",
    "categorical": "fb.categorical({0}, fb.CategoricalTable(np.eye(2)), generator=torch.Generator())",
    "categorical_bridge": "fb.categorical_bridge({0}, {0}, before=np.eye(2), after=np.eye(2))",
    "categorical_rows": "fb.categorical_rows(logits={1}, dtype='int32')",
    "energy_loss": "fb.energy_loss({1}, {0}, {0}, [1.0, 2.0])",
    "gamma": "fb.gamma({1}, scale=2.0)",
    "gamma_log_prob": "fb.gamma_log_prob({1}, 2.0, 1.0)",
    "hypergeometric": "fb.hypergeometric(5, bad={0}, draws=3)",
    "hypergeometric_log_prob": "fb.hypergeometric_log_prob(2, 5, {0}, 4)",
    "multinomial": "fb.multinomial(100, {1})",
    "multinomial_log_prob": "fb.multinomial_log_prob({0}, {1})",
    "negative_binomial": "fb.negative_binomial({1}, mean=20.0)",
    "negative_binomial_log_prob": "fb.negative_binomial_log_prob({0}, 2.0, 4.0)",
    "normal": "fb.normal({1}, 1.0)",
    "poisson": "fb.poisson({1}, rng=key)",
    "posterior_loss": "fb.posterior_loss(({1}, {1}), {0}, {0}, 1.0, family='beta-binomial')",
    "posterior_step": "fb.posterior_step({0}, {1}, 0.5, family='mean', outputs=('x_s',)).x_s",
    "skellam": "fb.skellam({1}, 2.0)",
    "skellam_log_prob": "fb.skellam_log_prob({0}, 2.0, 3.0)",
    "split": "fb.split({0}, (0.8, 0.2), overdispersion=2.0)[0]",
    "tau_leap_step": "fb.tau_leap_step({0}, births={1}, step=0.5, outputs='x_s').overshoot",
    "thin": "fb.thin({0}, 0.5, input_dtype=torch.float16).model_input",
    "thin_log_prob": "fb.thin_log_prob({0}, {0}, 0.5)",
    "transition_rows": "fb.transition_rows({1}, 3)",
}
FLOAT64 = {"transition_rows", *(name for name in CALLS if name.endswith("_log_prob"))}  # which is then in the type
RIGHT = [
    "assert_type(fb.thin(x, p, out=fb.Thinned(x_t=x)), fb.Thinned[Tensor])",
    "assert_type(fb.binomial(10, 0.5), NDArray[Any])",
    "assert_type(fb.binomial(n, y), Tensor)",
    "assert_type(fb.binomial(x, fb.Prob(p, 1 - p)), Tensor)",
    "assert_type(fb.binomial_log_prob(3, 10, 0.5), NDArray[np.float64])",
    "assert_type(fb.thin_log_prob(n, n, 0.5), NDArray[Any])",
    "assert_type(fb.transition_rows(f, 3), NDArray[np.float64])",
    "assert_type(fb.thin(a, 0.5), fb.Thinned[Any])",
    "assert_type(fb.distributions.Poisson(p).sample((3,), rng=key), Tensor)",
]
WRONG = [
    "fb.thin(x, 0.5).model_imput",  # a misspelt field
    "fb.thin(a, 0.5).xt",
    "fb.thin(x, 0.5, max_cout=3)",  # a misspelt argument
    "fb.bridge_step(x, y, 0.5, rouding='nearest')",
    "fb.binomial(x)",  # a missing argument
    "fb.posterior_loss(y, x, x, 1.0)",
    "fb.birth_loss(y, x)",
    "fb.thin(x, 0.5, backend='gpu')",  # a wrong name
    "fb.bridge_step(x, y, 0.5, rounding='up')",
    "fb.posterior_step(x, y, 0.5, family='gamma')",
    "fb.thin(x, 0.5, outputs=('x_s',))",
    "fb.categorical_rows(y, dtype='int33')",
    "fb.thin([1, 2], 0.5)",  # a list in place of an array
    "fb.thin(x, 'half')",
    "fb.thin(x, 0.5, rng='7')",
    "fb.thin(x, 0.5, rng=fb.Philox(7, 3))",  # is 3 a sample or a call
    "fb.poisson('x')",
    "fb.tau_leep_step(x, y, 0.5)",
]
LINES = [
    *(f"assert_type({call.format('x', 'y')}, Tensor)" for call in CALLS.values()),
    *(f"assert_type({call.format('n', 'f')}, NDArray[Any])" for name, call in CALLS.items() if name not in FLOAT64),
    *RIGHT,
    *WRONG,
]


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
    """Each mistake is found, and nothing else."""
    lines = [*SCRIPT.splitlines(), *HEAD.splitlines(), *(f"    {line}" for line in LINES)]
    program = tmp_path / "program.py"
    program.write_text("\n".join(lines) + "\n")
    found, report = checker(program)
    wrong = [line for line in lines if line.endswith("# wrong") or line.strip() in WRONG]
    assert {lines[line - 1] for line in found} == set(wrong), report


def test_the_script_calls_every_op():
    assert sorted(CALLS) == public_ops()


def test_no_op_takes_or_gives_anything():
    for name in public_ops():
        signature = inspect.signature(getattr(fb, name))
        types = [signature.return_annotation, *(each.annotation for each in signature.parameters.values())]
        assert not {"Any", inspect.Signature.empty} & set(types), name


# Of names that stand elsewhere, too: a new one is added in both places.
NAMES = {
    "CountDtype": COUNTS,
    "DataName": data.NAMES,
    "Family": (*FAMILIES, "mean"),
    "FloatDtype": FLOATS,
    "Grid": GRIDS,
    "HeadName": HEADS,
    "Pretrained": pretrained.names(),
    "Sampler": SAMPLERS,
    "StepOutput": STEP_OUTPUTS,
    "ThinOutput": THIN_OUTPUTS,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_literal_has_the_names_that_there_are(name):
    assert sorted(get_args(getattr(typing, name))) == sorted(NAMES[name])


def names_of(stub):
    """The names that a stub of a compiled module declares."""
    names = set()
    for node in ast.parse((ROOT / f"fastblackout/{stub}.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            names |= names_of(node.module)
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.add(node.target.id)
    return names


@pytest.mark.parametrize("module", ["_cpu", "_cuda", "_simt"])
def test_the_stub_of_a_compiled_module_has_its_functions(module):
    compiled = available.load(module)
    if isinstance(compiled, str):
        pytest.skip(compiled)
    assert {name for name in dir(compiled) if not name.startswith("__")} == names_of(module)


def test_mypy_knows_the_names_that_there_are_and_no_others(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed: pip install mypy")
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.py")]
    names = {name for path in documents for name in re.findall(r"\bfb\.([A-Za-z_][\w.]*\w)", path.read_text())}
    names = sorted(
        {
            *names,
            *fb.__all__,
            *(f"data.{name}" for name in fb.data.__all__),
            "data",
            "distributions",
            "evaluation",
            "ops",
            "reference",
        }
    )
    lines = ["import fastblackout as fb", "import fastblackout.sampling", *(f"fb.{name}" for name in [*names, *NONE])]
    (tmp_path / "program.py").write_text("\n".join(lines))
    # Without torch's types, which take half a minute.
    command = [sys.executable, "-m", "mypy", "--no-site-packages", "--follow-imports=silent"]
    command += [f"--cache-dir={tmp_path}", f"{tmp_path}/program.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    wrong = re.findall(r'program\.py:(\d+): error: Module has no attribute "(\w+)"', done.stdout)
    assert wrong == [(str(lines.index(f"fb.{name}") + 1), name.split(".")[-1]) for name in NONE], done.stdout
    assert f"Found {len(NONE)} errors in 1 file" in done.stdout
