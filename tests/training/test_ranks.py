"""Several processes at one training: what each takes of a batch, that together they draw what one draws, and how one
learns that another has failed or died, with a pair of sockets in the place of two hosts."""

import dataclasses
import socket
import threading
from multiprocessing.connection import Connection

import numpy as np
import pytest
import torch

import fastblackout.training.rank_watch as watch
import fastblackout.training.ranks as of_ranks
import fastblackout.training.trainer as trainer
from fastblackout.cli.command_line import main
from fastblackout.data import load
from fastblackout.training.checkpoint import EMA, NETWORK, load_checkpoint
from fastblackout.training.config import TrainConfig
from fastblackout.training.journal import read_log
from fastblackout.training.rank_watch import Failure, Watch
from fastblackout.training.ranks import Place, Single, current, place_of, share_of_batch
from support.ranks import ranks
from support.recorded_draws import recorded

TINY = {"steps": 3, "batch": 11, "channels": 8, "threads": 1, "schedule_steps": 60, "dropout": 0.0, "flip": True}
TINY |= {"conditional": True, "label_dropout": 0.5, "held_out_every": 0, "sample_every": 0, "log_every": 1}
LAUNCHED = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "counts.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 9, (40, 4, 4)), labels=np.arange(40) % 3)
    return path


@pytest.fixture(scope="module")
def data(file):
    return load("array", file)


@pytest.mark.parametrize(("total", "unit"), [(0, 1), (1, 1), (7, 1), (8, 1), (64, 250), (1000, 250), (1001, 250)])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shares_are_contiguous_and_even(total, unit, count):
    shares = [Place(rank, count).share(total, unit) for rank in range(count)]
    assert [n for share in shares for n in range(share.start, share.stop)] == list(range(total))
    assert all(before.stop == after.start for before, after in zip(shares[:-1], shares[1:], strict=True))
    piece = unit if total >= unit * count else 1
    pieces = [-(-(share.stop - share.start) // piece) for share in shares]
    assert max(pieces) - min(pieces) <= 1 and pieces[0] == max(pieces)
    assert all(share.start % piece == 0 for share in shares if share.start < total)


def test_the_place_of_a_process():
    assert place_of({}) == place_of({"RANK": "0", "WORLD_SIZE": "1"}) == Place(0, 1, 0)
    assert place_of(LAUNCHED) == Place(1, 4, 0)
    assert Place().first and not place_of(LAUNCHED).first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RANK": "", "MASTER_PORT": ""}, "ranks: RANK, MASTER_PORT: must be set where WORLD_SIZE is"),
        ({"MASTER_PORT": "abc"}, "ranks: MASTER_PORT: must be an integer in 1..65535, got 'abc'"),
        ({"MASTER_PORT": "65536"}, "ranks: MASTER_PORT: must be an integer in 1..65535, got '65536'"),
        ({"RANK": "4"}, "ranks: RANK: must be an integer in 0..3, got '4'"),
        ({"LOCAL_RANK": "-1"}, "ranks: LOCAL_RANK: must be an integer in 0..3, got '-1'"),
        ({"WORLD_SIZE": "two"}, "ranks: WORLD_SIZE: must be an integer in 1..1048575, got 'two'"),
    ],
)
def test_wrong_variables(change, words, monkeypatch, capsys):
    for name, value in {**LAUNCHED, **change}.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "digits"]) == 1
    assert capsys.readouterr().err.startswith(f"fastblackout train: {words}")


def test_a_batch_has_a_sample_for_every_part():
    config = TrainConfig(batch=7, accumulate=3)
    assert share_of_batch(Single(Place(1, 2)), config) == slice(4, 7)
    with pytest.raises(ValueError, match=r"^train: batch: must be at least 9, 3 processes times accumulate 3, got 7$"):
        share_of_batch(Single(Place(1, 3)), config)
    with pytest.raises(ValueError, match=r"^train: accumulate: must be in 1..7, the batch, got 8$"):
        TrainConfig(batch=7, accumulate=8)


def steps_of(monkeypatch, config, data, place):
    """What two steps of a rank draw, the loss of the first, and its gradients, which no other rank's are added to."""
    monkeypatch.setattr(trainer, "current", lambda: Single(place))
    one = trainer.Trainer(config, data, {}, torch.device("cpu"))
    with torch.random.fork_rng(), recorded() as draws:
        loss = float(one.train_step())
        gradients = [parameter.grad.clone() for parameter in one.model.parameters()]
        one.train_step()
    return draws, loss, gradients


@pytest.mark.parametrize(
    ("head", "count", "accumulate"), [("mean", 1, 4), ("mean", 8, 1), ("implicit", 2, 1), ("implicit", 3, 2)]
)
def test_ranks_draw_what_one_process_draws(data, monkeypatch, head, count, accumulate):
    weight = {"weight": "energy", "schedule": "cosine"} if head == "implicit" else {}
    config = TrainConfig(**{**TINY, **weight, "head": head, "clip": 1e30, "learning_rate": 1e-12})
    whole, loss, gradients = steps_of(monkeypatch, config, data, Place())
    assert len(whole["k"]) == 2 and len(whole["noise"]) == (4 if head == "implicit" else 0)
    assert (whole["labels"][0] == 3).any() and (whole["labels"][0] < 3).any()
    config = dataclasses.replace(config, accumulate=accumulate)
    found = [steps_of(monkeypatch, config, data, Place(rank, count)) for rank in range(count)]
    for name, arrays in whole.items():
        every = len(arrays) // 2  # of a step; the noises of an implicit head are drawn twice
        for n, array in enumerate(arrays):
            at = (n // every) * every * accumulate + n % every
            parts = [part[name][at + p * every] for part, _, _ in found for p in range(accumulate)]
            assert len(parts) == count * accumulate and np.array_equal(np.concatenate(parts), array), (name, n)
    assert sum(of_rank for _, of_rank, _ in found) == pytest.approx(loss, rel=1e-5)
    largest = max(float(one.abs().max()) for one in gradients)  # of parameters whose gradients cancel, rounding is left
    for parameter, one in enumerate(gradients):
        mean = torch.stack([each[parameter] for _, _, each in found]).mean(0)
        assert torch.allclose(mean, one, rtol=1e-3, atol=1e-6 * largest)


def command(file, out, *more):
    options = [f"--{name.replace('_', '-')}={v}" for name, v in TINY.items() if not isinstance(v, bool)]
    return ["train", "array", f"--data={file}", f"--out={out}", "--flip", "--conditional", "--quiet", *options, *more]


def close(one, other):
    """Whether the weights of two runs are the same to rounding, Adam's first steps being as large as any gradient."""
    for name in (NETWORK, EMA):
        mine, theirs = (load_checkpoint(run).tensors(name) for run in (one, other))
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            assert torch.allclose(value, theirs[key], rtol=1e-3, atol=2e-5), (name, key)


def losses(run):
    return {record["step"]: record["loss"] for record in read_log(run / "log.jsonl")}


def test_two_processes_are_as_one(file, tmp_path, monkeypatch):
    """The draws of a training to the bit, its weights to rounding; the samples of one run to the bit."""
    monkeypatch.chdir(tmp_path)
    samples = ["sample", "one", "--num=7", "--steps=4", "--batch=2", "--quiet"]
    with recorded() as draws:
        assert main(command(file, "one")) == 0
    assert main([*samples, "--out=one.npz"]) == 0
    commands = [command(file, "two"), [*samples, "--out=two.npz"]]
    with ranks(tmp_path, commands, commands) as wait:
        found = wait()
    assert [end[0] for end in found] == [0, 0], found
    assert found[0][1].count("next: fastblackout sample two") == 1 and found[1][1:] == ("", "")
    of_ranks = [np.load(f"{rank}.npz") for rank in (0, 1)]
    for name, arrays in draws.items():
        for n, array in enumerate(arrays):
            assert np.array_equal(np.concatenate([of_rank[f"{name}-{n}"] for of_rank in of_ranks]), array), name
    close("one", "two")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    for name in ("one.npz", "one.png", "one-film.png"):
        assert (tmp_path / name).read_bytes() == (tmp_path / name.replace("one", "two")).read_bytes(), name
    assert current().count == 1 and not torch.distributed.is_initialized()


@pytest.fixture
def pair(monkeypatch):
    """The watches of ranks 0 and 1, both at work, and the status by which the first of them has ended the process."""
    ended, left = [], threading.Event()

    def leave(status):
        ended.append(status)
        left.set()

    monkeypatch.setattr(watch.os, "_exit", leave)
    monkeypatch.setattr(watch, "NEWS", 0.5)
    lines = [Connection(end.detach()) for end in socket.socketpair()]
    both = [Watch("prog", rank, rank == 0, {line: 1 - rank}) for rank, line in enumerate(lines)]
    for one in both:
        one.at_work(True)
    assert all(soon(lambda one=one: one.others) for one in both)
    yield [*both, ended, left]
    for one in both:
        one.inside, one.ending = False, True
        die(one)
    for line in lines:
        line.close()


def soon(condition):
    return any(condition() or threading.Event().wait(0.005) for _ in range(1000))


def die(one):
    """What the system does for a process that ends."""
    for line in list(one.lines):
        with socket.socket(fileno=line.fileno()) as end:
            end.shutdown(socket.SHUT_RDWR)
            end.detach()
    assert soon(lambda: not one.lines)  # its thread has ended


def test_a_death_is_the_reason_of_an_error_of_torch(pair):
    first, second, ended, _ = pair
    die(second)
    failure = first.verdict("failed", "Connection closed by peer", perhaps_theirs=True)
    assert failure == Failure(1, "died") and str(failure).startswith("rank 1 died: it ended without an error")
    assert ended == []


def test_the_death_of_rank_0_is_told(pair):
    first, second, _, _ = pair
    die(first)
    assert second.verdict("stopped", "stopped", perhaps_theirs=True) == Failure(0, "died")  # torchrun's SIGTERM


def test_the_error_of_a_rank_is_told_to_the_others(pair):
    first, second, _, _ = pair
    assert second.verdict("failed", "load: no such file", perhaps_theirs=False) is None
    failure = first.verdict("failed", "Connection closed by peer", perhaps_theirs=True)
    assert str(failure) == "rank 1: load: no such file"
    assert first.verdict("failed", "load: no such file", perhaps_theirs=False) is None  # its own mistake, too


def test_rank_0_passes_on_what_it_learns(pair):
    first, second, _, _ = pair
    third, there = (Connection(end.detach()) for end in socket.socketpair())
    first.lines[there] = 2
    with third:
        assert second.verdict("failed", "a mistake", perhaps_theirs=False) is None
        assert third.recv() == Failure(1, "failed", "a mistake")


def test_a_signal_that_all_got_is_no_failure_of_another(pair):
    first, second, _, _ = pair
    assert second.verdict("stopped", "stopped", perhaps_theirs=True) is None
    assert soon(lambda: first.failure)
    assert first.verdict("stopped", "stopped", perhaps_theirs=True) is None


def test_who_has_done_its_work_may_end(pair):
    first, second, _, _ = pair
    second.at_work(False)
    die(second)
    assert soon(lambda: not first.lines) and first.failure is None


def test_a_main_thread_that_nothing_reaches_is_ended(pair, monkeypatch, capsys):
    first, second, ended, left = pair
    monkeypatch.setattr(watch, "GRACE", 0.0)
    second.ending = True  # and would end by itself
    die(second)
    assert left.wait(5) and ended == [1]
    assert capsys.readouterr().err.startswith("prog: rank 1 died: ")


@pytest.mark.parametrize(("local", "said"), [("0", "argument DATASET: invalid choice"), ("1", "")])
def test_the_first_of_a_host_tells_of_a_wrong_command(monkeypatch, capsys, local, said):
    for name, value in {**LAUNCHED, "LOCAL_RANK": local}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(of_ranks, "_TO_SPEAK", 0.0)
    with pytest.raises(SystemExit) as left:
        main(["train", "nothing"])
    err = capsys.readouterr().err
    assert left.value.code == 2 and (said in err if said else err == "")
