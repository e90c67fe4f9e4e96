"""How a rank learns that another has failed or died, with a pair of sockets in the place of two hosts."""

import socket
import threading
from multiprocessing.connection import Connection

import pytest

import fastblackout.training.rank_watch as watch
import fastblackout.training.ranks as launch
from fastblackout.cli.command_line import main
from fastblackout.training.rank_watch import Failure, Watch


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
    variables = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": local, "MASTER_ADDR": "host", "MASTER_PORT": "29500"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launch, "_TO_SPEAK", 0.0)
    with pytest.raises(SystemExit) as left:
        main(["train", "nothing"])
    err = capsys.readouterr().err
    assert left.value.code == 2 and (said in err if said else err == "")
