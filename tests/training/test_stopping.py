"""A training has its folder to itself, and a signal ends it with everything saved."""

import errno
import fcntl
import functools
import importlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import fastblackout as fb
import fastblackout.training.run as training
from fastblackout.cli import command_line as cli
from fastblackout.training.checkpoint import EMA, NETWORK, OPTIMIZER, has_checkpoint, load_checkpoint
from fastblackout.training.config import TrainConfig
from fastblackout.training.journal import read_log
from fastblackout.training.run_folder import LOCK, holding
from fastblackout.training.stopping import Terminated, stop_on_signals
from support.forks import MAIN, Fork
from support.subprocesses import PACKAGE, elsewhere, in_a_process

OPTIONS = {"steps": 12, "batch": 8, "channels": 8, "threads": 1, "schedule_steps": 60}
OPTIONS |= {"log_every": 5, "held_out_every": 1, "sample_every": 6, "checkpoint_every": 4}
CONFIG = TrainConfig(**OPTIONS)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data and a whole run of CONFIG."""
    folder = tmp_path_factory.mktemp("home")
    np.save(folder / "a.npy", np.random.default_rng(0).integers(0, 9, (40, 4, 4)))
    fb.train(fb.data.load("array", folder / "a.npy"), folder / "whole", CONFIG, progress=False)
    return folder


@pytest.fixture
def data(home):
    return fb.data.load("array", home / "a.npy")


def content(run):
    """Weights, pictures and log of a run, but for the speed."""
    found = {path.name: path.read_bytes() for path in run.glob("*.png")}
    checkpoint = load_checkpoint(run)
    found |= {name: (checkpoint.path / name).read_bytes() for name in (NETWORK, EMA, OPTIMIZER)}
    log = [{k: v for k, v in record.items() if k != "images_per_second"} for record in read_log(run / "log.jsonl")]
    return {**found, "log": log}


def command(home, out, *more):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    return ["train", "array", f"--data={home / 'a.npy'}", f"--out={out}", "--quiet", *options, *more]


def test_a_second_training_is_refused_until_the_first_dies(home, tmp_path, capsys):
    run = tmp_path / "run"
    with Fork(MAIN, *command(home, run, "--steps=1000000", "--compile=off")) as first:
        while not has_checkpoint(run):
            assert first.poll() is None, first.communicate()
            time.sleep(0.01)
        for more in ([], ["--resume"]):
            assert cli.main(command(home, run, *more)) == 1
            err = capsys.readouterr().err
            assert err.startswith("fastblackout train: out: must be in use by no other training (")
            assert err.endswith(f"), got {run}\n") and "--out" in err
        first.kill()
        first.communicate()
    assert (run / LOCK).exists()  # which is not the lock itself
    assert cli.main(command(home, run, "--resume", "--steps=1000000", "--device=abacus")) == 1
    assert "device" in capsys.readouterr().err
    assert not (run / LOCK).exists()


def test_the_lock_holds_within_a_process_too(data, tmp_path):
    with holding(tmp_path / "run"):
        for resume in (False, True):
            with pytest.raises(ValueError, match=r"^train: out: must be in use by no other training .*, got .*run$"):
                fb.train(data, tmp_path / "run", CONFIG, resume=resume, progress=False)
    assert not (tmp_path / "run").exists()


def test_what_fails_at_once_leaves_no_folder(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "array", "--data=nothing.npy", "--out=new/run"]) == 1
    with pytest.raises(ValueError, match="device"):
        fb.train(data, "new/run", TrainConfig(**{**OPTIONS, "device": "abacus"}), progress=False)
    assert not os.listdir()
    os.mkdir("there")
    (tmp_path / "there" / LOCK).touch()  # what a killed training may leave
    with pytest.raises(ValueError, match="device"):
        fb.train(data, "there", TrainConfig(**{**OPTIONS, "device": "abacus"}), progress=False)
    assert os.listdir() == ["there"] and not os.listdir("there")


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def no_locks(handle, how):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.warns(RuntimeWarning, match="knows no locks"), holding(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_a_lock_file_that_its_last_holder_removed_does_not_count(tmp_path, monkeypatch):
    """Opened before the holder let go, it would be locked by this process alone, and the new one by another."""
    lock, seen = fcntl.flock, []

    def late(handle, how):
        if not seen:
            (tmp_path / "run" / LOCK).unlink()
        seen.append(handle)
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with holding(tmp_path / "run"):
        assert len(seen) == 2
        with pytest.raises(ValueError, match="no other training"), holding(tmp_path / "run"):
            pass


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), pytest.param(signal.SIGTERM, Terminated, marks=pytest.mark.slow)],
)
def test_a_signal_saves_and_a_resumed_run_is_the_same(home, data, tmp_path, monkeypatch, number, error):
    step = training.Trainer.train_step

    def interrupted(self):
        if self.step == 6:
            signal.raise_signal(number)
        return step(self)

    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(training.Trainer, "train_step", interrupted)
    with pytest.raises(error) as stopped:
        fb.train(data, tmp_path / "run", CONFIG, progress=False)
    monkeypatch.undo()
    assert "stopped after step 7; go on with --resume" in (str(stopped.value), getattr(stopped.value, "message", ""))
    assert getattr(stopped.value, "code", 130) == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    assert load_checkpoint(tmp_path / "run").step == 7
    fb.train(data, tmp_path / "run", CONFIG, resume=True, progress=False)
    assert content(tmp_path / "run") == content(home / "whole")


@pytest.mark.parametrize(("look", "where"), [("held_out_loss", 5), ("held_out_loss", 12), ("samples", 6)])
def test_a_signal_cuts_short_what_the_resumed_run_then_does(home, data, tmp_path, monkeypatch, look, where):
    whole = getattr(training.Trainer, look)

    def interrupted(self, tick):
        if self.step == where:
            signal.raise_signal(signal.SIGTERM)
        return whole(self, tick)

    monkeypatch.setattr(training.Trainer, look, interrupted)
    with pytest.raises(Terminated):
        fb.train(data, tmp_path / "run", CONFIG, progress=False)
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "run").step == where
    assert content(tmp_path / "run") != content(home / "whole")
    fb.train(data, tmp_path / "run", CONFIG, resume=True, progress=False)
    assert content(tmp_path / "run") == content(home / "whole")


def test_sigterm_stops_evaluate(home, tmp_path):
    line = ["evaluate", home / "whole", f"--data={home / 'a.npy'}", "--num=100000", "--steps=60", "--json=numbers.json"]
    with Fork(MAIN, *line, folder=tmp_path) as running:
        assert running.stderr.readline().startswith("4 sets of 100000 samples")
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (143, "")
    assert err.endswith("fastblackout evaluate: stopped\n") and "Traceback" not in err
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("module", [["-m", "fastblackout"], ["-c", "import fastblackout.cli as c; c.main()"]])
def test_control_c_while_the_command_line_is_imported(tmp_path, module):
    """A module that is slow to import stands for all of them, of which each takes some milliseconds."""
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    environment = elsewhere(PYTHONPATH=os.pathsep.join([str(tmp_path), PACKAGE]))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A job in the background, in which pytest may run, ignores Ctrl-C, and so would its children.
    heeded = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    line = [sys.executable, *module, "info"]
    running = subprocess.Popen(line, cwd="/", env=environment, preexec_fn=heeded, **pipes)
    assert running.stdout.readline() == "importing\n"
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=60) == ("", "fastblackout: stopped\n")
    assert running.returncode == 130


# The import of a module that the command line needs waits, and drops an exception.
SLOW = """
import importlib.abc, sys, time
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *more):
        if name == "fastblackout.cli.train_command":
            print("importing", flush=True)
            try:
                time.sleep(60)
            except BaseException:
                pass
sys.meta_path.insert(0, Slow())
"""


@pytest.mark.parametrize(
    ("number", "status"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_a_signal_ends_a_compilation(home, tmp_path, number, status):
    """One that drops the exception, and then waits in a call that no handler of Python's interrupts."""
    code = """
import ctypes, sys, time, torch
from fastblackout import cli
def compiles(self, *given):
    for said in ("compiling\\n", ""):
        try:
            print(said, end="", flush=True)
            ctypes.CDLL(None).sleep(60) or time.sleep(0)
        except BaseException:
            pass
torch.nn.Module.compile = lambda self: setattr(self, "forward", lambda *given: compiles(self))
sys.exit(cli.main())
"""
    with Fork(code, *command(home, tmp_path / "run", "--compile=on")) as running:
        assert running.stdout.readline() == "compiling\n"
        running.send_signal(number)
        assert running.communicate(timeout=30) == ("", "fastblackout train: stopped\n")
    assert running.returncode == status
    assert load_checkpoint(tmp_path / "run").step == 0


def test_a_signal_in_a_compiled_first_step_ends_it(home, data, tmp_path, monkeypatch):
    """An uncompiled one is done, and saved."""
    step = training.Trainer.train_step

    def interrupted(self):
        signal.raise_signal(signal.SIGINT)
        return step(self)

    monkeypatch.setattr(training.Trainer, "train_step", interrupted)
    monkeypatch.setattr("torch.nn.Module.compile", lambda self: None)
    for compile, done in (("on", 0), ("off", 1)):
        with pytest.raises(KeyboardInterrupt, match=f"^stopped after step {done}; go on with --resume$"):
            fb.train(data, tmp_path / compile, TrainConfig(**OPTIONS, compile=compile), progress=False)
        assert load_checkpoint(tmp_path / compile).step == done


def test_a_signal_waits_for_imports_of_triton(data, tmp_path, monkeypatch):
    """An exception out of what Triton's C++ module calls while it is loaded would abort the process."""
    made = []

    class Adam(torch.optim.Adam):
        def __init__(self, *options, **more):
            signal.raise_signal(signal.SIGINT)
            super().__init__(*options, **more)
            made.append("Adam")

    def load(name):
        signal.raise_signal(signal.SIGINT)
        made.append(name)

    monkeypatch.setattr(torch.optim, "Adam", Adam)
    with pytest.raises(KeyboardInterrupt):
        fb.train(data, tmp_path / "run", CONFIG, progress=False)
    module = pytest.importorskip("fastblackout.backends.triton")
    monkeypatch.setattr(importlib, "import_module", load)
    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        importlib.reload(module)
    assert made == ["Adam", "triton"]


def test_a_signal_to_a_child_does_not_end_its_parent():
    """It would come through the pipe that both have."""
    code = """if True:
        import os, signal, time
        from fastblackout.training import stopping
        stopping.GRACE = 0.1
        stopping.end_soon_on_signals("x")
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
        child = os.fork()
        while not child:
            time.sleep(0.01)
        time.sleep(0.2)
        os.kill(child, signal.SIGTERM)
        assert os.waitpid(child, 0)[1] == 0
        time.sleep(0.5)
        print("alive")
    """
    assert in_a_process(code) == "alive\n"
