"""--compile and --precision: what "auto" comes to, by a trial on a CPU, and that the network stays the same one."""

import re
import signal
import time

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import fastblackout as fb
from fastblackout.blackout import BlackoutModel
from fastblackout.cli import command_line as cli
from fastblackout.data import load
from fastblackout.models import NetworkConfig
from fastblackout.models.layers import FIR
from fastblackout.training import run as trial
from fastblackout.training.checkpoint import EMA, NETWORK, TRIED, export_checkpoint, load_checkpoint
from fastblackout.training.config import TrainConfig
from fastblackout.training.execution import WORTH_COMPILING, execution_for
from fastblackout.training.run import train
from fastblackout.training.stopping import Terminated
from fastblackout.training.trainer import Trainer

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
TINY = {"steps": 3, "batch": 8, "channels": 8, "schedule_steps": 20, "warmup": 1, "dropout": 0.0, "threads": 1}


@pytest.fixture(scope="module")
def array(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "a.npz"
    rng = np.random.default_rng(0)
    np.savez(path, images=rng.integers(0, 9, (40, 8, 8)), labels=np.arange(40) % 2)
    return path


@pytest.fixture
def counter(monkeypatch):
    """Networks are compiled without inductor, which takes a minute, but whole: a break in the graph is an error."""
    counter, compile = CompileCounterWithBackend("eager"), torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile(self, backend=counter, fullgraph=True))
    return counter


@pytest.mark.parametrize(("name", "shape"), [("down", (8, 6)), ("up", (3, 4)), ("before_strided", (4, 7))])
def test_the_compiled_filter_is_the_convolution(name, shape):
    fir, x = FIR().double(), torch.randn(2, 3, *shape, dtype=torch.float64, requires_grad=True)
    eager = getattr(fir, name)
    compiled = torch.compile(eager, backend="eager", fullgraph=True)
    outputs = [call(x) for call in (eager, compiled)]
    slopes = [torch.autograd.grad(out.square().sum(), x)[0] for out in outputs]
    for one, other in (outputs, slopes):
        assert torch.allclose(one, other, rtol=1e-13, atol=1e-13)
    single = x.detach().float()
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = (torch.outer(taps, taps)[None, None] * (4.0 if name == "up" else 1.0)).expand(3, 1, 4, 4)
    how = {"down": {"stride": 2, "padding": 1}, "up": {"stride": 2, "padding": 1}, "before_strided": {"padding": 2}}
    conv = torch.nn.functional.conv_transpose2d if name == "up" else torch.nn.functional.conv2d
    assert torch.equal(getattr(FIR(), name)(single), conv(single, kernel, groups=3, **how[name]))  # as ever, to the bit


def test_auto_and_what_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: True)

    def chosen(*options, **more):
        made = execution_for("train", *options, **more)
        return made.compiled, made.precision

    assert chosen("auto", "auto", CPU) == (False, "fp32")
    assert chosen("auto", "auto", CUDA) == (True, "bf16")
    assert chosen("auto", "auto", CUDA, work=WORTH_COMPILING - 1) == (False, "bf16")
    assert chosen("on", "tf32", CUDA, work=1) == (True, "tf32")
    assert chosen("off", "fp32", CUDA) == (False, "fp32")
    assert chosen("off", "bf16", CPU) == (False, "bf16")
    with pytest.raises(ValueError, match="^sample: precision: tf32 needs a GPU, got device cpu$"):
        execution_for("sample", "auto", "tf32", CPU)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: False)
    assert chosen("auto", "auto", CUDA) == (False, "fp32")
    with pytest.raises(ValueError, match="^train: compile: on needs Triton .*, got device cuda:0 without$"):
        execution_for("train", "on", "auto", CUDA)


def test_a_model_is_executed_as_by_the_command_within_the_block_alone(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda call, **options: call)
    network, x = torch.nn.Conv2d(2, 4, 3), torch.randn(1, 2, 5, 5)
    model = fb.BlackoutModel(network, fb.Schedule.cosine(9), 255, input="unit")
    for given in (model, network, torch.nn.DataParallel(model)):
        with fb.execution(given, "on", "bf16"):
            assert network._compiled_call_impl is not None and network(x).dtype == torch.bfloat16
            assert network.weight.is_contiguous(memory_format=torch.channels_last)
        assert network._compiled_call_impl is None and network(x).dtype == torch.float32
    with fb.execution(model):  # on a CPU as without
        assert network._compiled_call_impl is None and network(x).dtype == torch.float32
    network.compile()
    with fb.execution(model, "on", "fp32"):
        pass
    assert network._compiled_call_impl is not None  # as its owner has it


def test_wrong_arguments_of_an_execution_are_named():
    network = torch.nn.Linear(1, 1)
    for given, error, message in (
        ((network, "yes"), ValueError, "compile: must be one of auto, on, off, got 'yes'"),
        ((network, "on", "fp16"), ValueError, "precision: must be one of .*, got 'fp16'"),
        ((network, "off", "tf32"), ValueError, "precision: tf32 needs a GPU, got device cpu"),
        ((abs,), TypeError, "model: must have a network that is a .*, got builtin_function_or_method"),
    ):
        with pytest.raises(error, match=f"^execution: {message}$"):
            fb.execution(*given).__enter__()


def test_torchs_settings_hold_within_the_block_alone():
    def settings():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark

    before = settings()
    for precision, fast in (("tf32", True), ("fp32", False)):
        with pytest.raises(KeyError), execution_for("train", "off", precision, CUDA).settings():
            assert settings() == (fast, fast, True)
            raise KeyError
        assert settings() == before


def test_a_refusal_on_the_command_line_writes_nothing(array, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def none():
        raise RuntimeError("No working\nC++ compiler found")

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", none)
    for options, words in (
        (["--precision=tf32"], "precision: tf32 needs a GPU"),
        (["--cuda-graph"], "cuda_graph: needs a GPU, got device cpu"),
        (["--compile=on"], "compile: on needs a C++ compiler (No working C++ compiler found), got device cpu without"),
    ):
        assert cli.main(["train", "array", f"--data={array}", "--out=run", "--device=cpu", *options]) == 1
        assert words in capsys.readouterr().err
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["small", pytest.param("mlp", marks=pytest.mark.slow)])
def test_a_network_is_one_graph(kind):
    """Labels, attention and both ways of resampling; its weights keep their names."""
    shape = (1, 8, 8)
    network = NetworkConfig(kind, {"shape": shape, "num_classes": 3, "channels": 4}).build().double().train()
    torch.manual_seed(0)
    for parameter in network.parameters():  # the last layer would give zeros
        torch.nn.init.normal_(parameter, std=0.2)
    names = list(network.state_dict())
    x, time, labels = torch.randn(2, *shape, dtype=torch.float64), torch.tensor([3, 8]), torch.tensor([1, 3])
    results = []
    for _ in range(2):
        out = network(x, time, labels)
        results.append([out, *torch.autograd.grad(out.square().sum(), list(network.parameters()))])
        network.to(memory_format=torch.channels_last)
        network.compile(backend="eager", fullgraph=True)
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)
    assert list(network.state_dict()) == names


def test_held_out_losses_and_pictures_have_the_precision_of_the_training(array):
    trainer, seen = Trainer(TrainConfig(**TINY, precision="bf16"), load("array", array), {}, CPU), []
    trainer.averaged.network.register_forward_hook(lambda network, given, out: seen.append(out.dtype))
    trainer.held_out_loss(lambda images: None)
    trainer.samples(lambda steps: None)
    assert set(seen) == {torch.bfloat16}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_training_goes_on_from_one_that_is_not(array, tmp_path, counter, precision):
    """And its checkpoints are like any other's."""
    data, run = load("array", array), tmp_path / "run"
    config = {**TINY, "conditional": True, "held_out_every": 0, "sample_every": 0, "checkpoint_every": 1, "keep": 9}
    train(data, run, TrainConfig(**config), progress=False)
    assert counter.frame_count == 0
    eager = load_checkpoint(run)
    again = load_checkpoint(run / "checkpoints" / "step-00000001")
    trainer = Trainer(TrainConfig(**{**config, "compile": "on", "precision": precision}), data, {}, CPU)
    trainer.restore(again)
    losses = [trainer.train_step() for _ in range(2)]
    assert counter.frame_count == 1
    with trainer.execution.autocast():
        out = trainer.model(torch.zeros(2, 1, 8, 8), torch.tensor([1, 2]))
    assert out.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert all(torch.isfinite(loss) for loss in losses)
    for parameter, state in trainer.optimizer.state.items():
        assert parameter.stride() == state["exp_avg"].stride() == state["exp_avg_sq"].stride()
    assert trainer.model.network.all_modules[2].weight.is_contiguous(memory_format=torch.channels_last)
    trainer.save(tmp_path / "other")
    trainer.writer.wait()
    saved = load_checkpoint(tmp_path / "other")
    for name in (NETWORK, EMA):
        there, here = eager.tensors(name), saved.tensors(name)
        assert there.keys() == here.keys()
        atol = 2e-2 if precision == "bf16" else 1e-3
        assert all(torch.allclose(there[key], here[key], atol=atol) for key in there)


@pytest.mark.parametrize("option", ["--precision=bf16", pytest.param("--compile=on", marks=pytest.mark.slow)])
def test_samples_take_the_options(option, array, tmp_path, monkeypatch, counter):
    train(load("array", array), tmp_path / "run", TrainConfig(**{**TINY, "steps": 0}), progress=False)
    line = ["sample", str(tmp_path / "run"), "--num=4", "--steps=2", "--quiet", "--force", "--device=cpu"]
    seen, forward = set(), BlackoutModel.forward

    def watched(self, *given):
        seen.add(torch.is_autocast_enabled("cpu"))
        return forward(self, *given)

    monkeypatch.setattr(BlackoutModel, "forward", watched)
    assert cli.main(line) == 0
    assert (seen, counter.frame_count) == ({False}, 0)
    seen.clear()
    assert cli.main([*line, option]) == 0
    compiled = option == "--compile=on"
    assert (seen, counter.frame_count) == ({not compiled}, int(compiled))


@pytest.mark.slow  # for minutes, which inductor takes
def test_inductor_trains(array, tmp_path):
    options = ["--compile=on", "--precision=bf16"]
    given = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    run = str(tmp_path / "run")
    assert cli.main(["train", "array", f"--data={array}", f"--out={run}", "--quiet", *given, *options]) == 0
    assert cli.main(["sample", run, "--num=4", "--steps=2", "--quiet", options[1]]) == 0
    images = np.load(tmp_path / "run" / "samples.npz")["images"]
    assert images.shape == (4, 1, 8, 8) and images.max() <= 8


# --- the trial that a long training on a CPU begins with


@pytest.fixture(scope="module")
def data(array):
    return load("array", array)


@pytest.fixture
def clock(monkeypatch):
    """Seconds of a step, by whether it is compiled; every training is worth a look. Steps are taken, and counted."""
    seconds, taken = {False: 1.0, True: 0.5}, []

    def timed(trainer):
        trainer.train_step()
        taken.append(trainer.execution.compiled)
        return seconds[trainer.execution.compiled]

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: None)  # inductor takes a minute
    monkeypatch.setattr(trial, "_seconds", timed)
    monkeypatch.setattr(trial, "FEWEST", 1)
    monkeypatch.setattr(trial, "LONG", 3.0)
    seconds["taken"] = taken
    return seconds


def run(data, out, resume=False, **options):
    given = {**TINY, "dropout": 0.1, "device": "cpu", "held_out_every": 0, "sample_every": 0, **options}
    return train(data, out, TrainConfig(**given), resume=resume)


@pytest.mark.parametrize(("seconds", "compiled"), [(0.5, True), (0.98, False), (1.3, False)])
def test_the_faster_way_is_kept_and_told(seconds, compiled, data, clock, tmp_path, capsys):
    clock[True] = seconds
    saved = run(data, tmp_path / "run")
    chosen = "compiled" if compiled else "as written"
    told = capsys.readouterr().err
    assert re.search(rf"a step takes 1 s as written, {seconds:.3g} s compiled \(in \d+ s\): {chosen}\n", told)
    assert all(len(line) <= 80 or str(tmp_path) in line for line in told.splitlines())
    assert load_checkpoint(saved).config.get(TRIED) is (True if compiled else None)
    ways = trial.ROUNDS * trial.STEPS
    assert (clock["taken"].count(False), clock["taken"].count(True)) == (1 + trial.STEPS + ways, 1 + ways)
    exported = export_checkpoint(saved, tmp_path / "exported")
    assert TRIED not in load_checkpoint(exported).config


def test_a_resumed_training_keeps_its_way_without_a_trial(data, clock, tmp_path, monkeypatch):
    run(data, tmp_path / "run")
    clock["taken"].clear()
    laid = []
    monkeypatch.setattr("fastblackout.training.execution.Execution.compile", lambda self, n: laid.append(self.compiled))
    saved = run(data, tmp_path / "run", resume=True, steps=4)
    assert (clock["taken"], laid, load_checkpoint(saved).config[TRIED]) == ([], [True], True)
    saved = run(data, tmp_path / "run", resume=True, steps=5, compile="off")
    assert (clock["taken"], laid) == ([], [True, False])
    assert load_checkpoint(saved).step == 5


def test_a_trial_leaves_the_training_alone(data, clock, tmp_path):
    """The weights after a trial that keeps the steps as written are those without one, to the bit."""
    clock[True] = 2.0
    one = load_checkpoint(run(data, tmp_path / "tried")).tensors(EMA)
    other = load_checkpoint(run(data, tmp_path / "off", compile="off")).tensors(EMA)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_short_trainings_and_other_options_have_no_trial(data, clock, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trial, "LONG", 3.01)
    assert TRIED not in load_checkpoint(run(data, tmp_path / "short")).config
    assert clock["taken"] == [False] * (1 + trial.STEPS)
    clock["taken"].clear()
    monkeypatch.setattr(trial, "LONG", 0.0)
    for name, compile in (("off", "off"), ("on", "on")):
        assert TRIED not in load_checkpoint(run(data, tmp_path / name, compile=compile)).config
    monkeypatch.setattr(trial, "FEWEST", 3 * 8 + 1)
    run(data, tmp_path / "few")
    monkeypatch.setattr(trial, "FEWEST", 3 * 8)
    monkeypatch.setattr(trial, "why_not_compiled", lambda device: "a C++ compiler")
    run(data, tmp_path / "without")
    assert clock["taken"] == []
    assert "compil" not in capsys.readouterr().err


def test_a_compiler_that_fails_is_told(data, clock, tmp_path, monkeypatch, capsys):
    def broken(self):
        raise RuntimeError("InductorError:\nno such header")

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: setattr(self, "forward", lambda *x: broken(self)))
    assert TRIED not in load_checkpoint(run(data, tmp_path / "run")).config
    assert "compiling failed (InductorError: no such header): as written\n" in capsys.readouterr().err


def test_a_signal_ends_the_trial(data, clock, tmp_path, monkeypatch):
    timed = trial._seconds

    def interrupted(trainer):
        if len(clock["taken"]) == 2:
            signal.raise_signal(signal.SIGTERM)
        return timed(trainer)

    monkeypatch.setattr(trial, "_seconds", interrupted)
    with pytest.raises(Terminated):
        run(data, tmp_path / "run")
    assert len(clock["taken"]) == 2
    assert not (tmp_path / "run").exists()


def test_a_busy_machine_makes_no_short_training_long(data, tmp_path, monkeypatch, capsys):
    """Nor does a slow step among the first."""
    step, slow = Trainer.train_step, []

    def waits(self):
        if len(slow) < 2:
            slow.append(np.linalg.svd(np.ones((400, 400))))
        time.sleep(0.2)
        return step(self)

    monkeypatch.setattr(Trainer, "train_step", waits)
    monkeypatch.setattr(trial, "FEWEST", 1)
    monkeypatch.setattr(trial, "LONG", 0.2 * 3)
    run(data, tmp_path / "run")
    assert "compil" not in capsys.readouterr().err
