"""How a rank learns that another has failed or died, with a pair of sockets in the place of two hosts."""

import socket
import threading
from contextlib import suppress

import pytest

import fastblackout.training.ranks.launch as launch
import fastblackout.training.ranks.watch as watch
from fastblackout.cli.command_line import main
from fastblackout.training.ranks.watch import Failure, Watch


@pytest.fixture
def pair(monkeypatch):
    """The watches of ranks 0 and 1, both at work, and the status by which the first of them has ended the process."""
    ended, left = [], threading.Event()

    def leave(status):
        ended.append(status)
        left.set()

    monkeypatch.setattr(watch.os, "_exit", leave)
    monkeypatch.setattr(watch, "NEWS", 0.5)
    monkeypatch.setattr(watch, "LINGER", 0.0)
    here, there = socket.socketpair()
    both = [Watch("prog", 0, True, [watch._Peer(1, here)]), Watch("prog", 1, False, [watch._Peer(0, there)])]
    for one in both:
        one.start()
        one.begin()
    assert all(seen(one) for one in both)
    yield [*both, ended, left]
    for one in both:
        one.inside = False
        one.ending = True
        die(one)
    for one in both:
        assert one.alone.wait(5)  # its thread has ended
        one.peers[0].line.close()


def die(one):
    """What the system does for a process that ends."""
    with suppress(OSError):  # where the other has ended already
        one.peers[0].line.shutdown(socket.SHUT_RDWR)


def seen(one):
    """Whether the other rank is known to be at work."""
    for _ in range(1000):
        if one.peers[0].inside:
            return True
        threading.Event().wait(0.005)
    return False


def test_a_death_is_the_reason_of_an_error_of_torch(pair):
    first, second, ended, _ = pair
    die(second)
    failure = first.verdict("failed", "Connection closed by peer", perhaps_theirs=True)
    assert failure == Failure(1, "died", "") and str(failure).startswith("rank 1 died: it ended without an error")
    assert first.shows(failure) and ended == []


def test_the_death_of_rank_0_is_told_by_rank_1(pair):
    first, second, _, _ = pair
    die(first)
    failure = second.verdict("stopped", "stopped", perhaps_theirs=True)  # torchrun's SIGTERM after it
    assert failure == Failure(0, "died", "") and second.shows(failure)
    assert not second.shows(Failure(0, "failed", "a mistake"))  # of which rank 0 tells itself


def test_the_error_of_a_rank_is_told_to_the_others(pair):
    first, second, _, _ = pair
    assert second.verdict("failed", "load: no such file", perhaps_theirs=False) is None
    failure = first.verdict("failed", "Connection closed by peer", perhaps_theirs=True)
    assert str(failure) == "rank 1: load: no such file"
    assert first.verdict("failed", "load: no such file", perhaps_theirs=False) is None  # its own mistake, too


def test_a_signal_that_all_got_is_no_failure_of_another(pair):
    first, second, _, _ = pair
    assert second.verdict("stopped", "stopped", perhaps_theirs=True) is None
    assert first.known.wait(5)
    assert first.verdict("stopped", "stopped", perhaps_theirs=True) is None


def test_who_has_done_its_work_may_end(pair, monkeypatch):
    first, second, _, _ = pair
    second.end()
    die(second)
    assert first.alone.wait(5)
    assert first.failure is None and not first.known.is_set()


def test_a_main_thread_that_nothing_reaches_is_ended(pair, monkeypatch, capsys):
    first, second, ended, left = pair
    monkeypatch.setattr(watch, "GRACE", 0.0)
    second.ending = True  # and would end by itself
    die(second)
    assert left.wait(5) and ended == [1]
    assert capsys.readouterr().err.startswith("prog: rank 1 died: ")


def test_a_line_may_arrive_in_pieces(pair):
    first, second, _, _ = pair
    for piece in (b'{"kind": "failed", "ra', b'nk": 1, "text": "half', b'"}\n'):
        second.peers[0].line.sendall(piece)
        threading.Event().wait(0.02)
    assert first.known.wait(5) and first.failure == Failure(1, "failed", "half")


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
