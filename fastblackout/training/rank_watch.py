"""How ranks learn within a minute that one on another host has failed, died or lost its host, whatever they wait for.

The agent of torchrun (2.6 and 2.15 were tried) ends the ranks of its own host, and names the one that failed. An agent
on another host sees none of it: calls of gloo fail there at once, by a message that names no rank, and calls of NCCL
wait until a timeout. So every rank keeps a connection to rank 0, which the system closes when its process ends, however
it ends, and which its keep-alive closes when its host is gone. Rank 0 passes on what it learns.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, NamedTuple

from ..ground.terminal import visible

if TYPE_CHECKING:
    from .ranks import Single

GRACE = 6.0  # seconds that the main thread has to end by itself once a rank has failed
NEWS = 3.0  # seconds in which the reason arrives for an error of torch.distributed that another rank has caused
JOINING, HELLO = 60.0, 5.0  # seconds in which all ranks must have connected, and each must say which it is
# A lost host: a first probe after 10 seconds of silence, then one every 5, the fourth without an answer ends it.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}


class Failure(NamedTuple):
    """What ended a rank: `kind` "failed", with the text of its error, "stopped", by a signal, or "died"."""

    rank: int
    kind: str
    text: str = "died: it ended without an error (killed, out of memory, or its host is lost)"

    def __str__(self) -> str:
        return f"rank {self.rank}{' ' if self.kind == 'died' else ': '}{self.text}"


class Watch:
    """The connections of this rank, of rank 0 one to every other, of others one to rank 0; a thread reads them.

    name: what stands before a message of this thread. speaks: whether this rank tells the user of failures.
    lines: the connections, and the rank at the other end.
    """

    def __init__(self, name: str, rank: int, speaks: bool, lines: dict[Connection, int]) -> None:
        self.name, self.rank, self.speaks, self.lines = name, rank, speaks, lines
        self.failure: Failure | None = None
        self.inside = False  # whether this rank is at the work that ranks share
        self.others: set[int] = set()  # the ranks at the other ends that are at it
        self.ending = False  # whether the main thread knows of the failure, and ends by itself
        self._known, self._sending = threading.Event(), threading.Lock()
        threading.Thread(target=self._listen, name="ranks", daemon=True).start()

    def at_work(self, inside: bool) -> None:
        """Whether from here on the end of another rank is a failure, and the end of this one is one for the others."""
        self.inside = inside
        self._send(inside)

    def verdict(self, kind: str, text: str, perhaps_theirs: bool) -> Failure | None:
        """The failure of another rank that is the reason of this one's error; where there is none, the others are told.

        perhaps_theirs: whether the error may be no more than a trace of theirs."""
        self.ending = True
        if perhaps_theirs:
            self._known.wait(NEWS)
        if self.failure is not None and perhaps_theirs and not (kind == self.failure.kind == "stopped"):
            return self.failure
        self._send(Failure(self.rank, kind, text))
        return None

    def _listen(self) -> None:
        while self.lines:
            for line in wait(list(self.lines)):
                assert isinstance(line, Connection)
                rank = self.lines[line]
                try:
                    word = line.recv()
                except (EOFError, OSError):  # OSError: no answer to the keep-alive
                    del self.lines[line]
                    word = Failure(rank, "died") if rank in self.others else False
                if not isinstance(word, Failure):
                    (self.others.add if word else self.others.discard)(rank)
                elif self.failure is None and self.inside:
                    self.failure = word
                    self._known.set()
                    if self.rank == 0:
                        self._send(word)
                    threading.Thread(target=self._end_late, args=(word,), name="ranks: end", daemon=True).start()

    def _end_late(self, failure: Failure) -> None:
        """Ends a process whose main thread waits where no signal and no error reaches it, as in a call of NCCL."""
        time.sleep(GRACE)
        if not self.ending:
            if self.speaks:
                print(visible(f"{self.name}: {failure}"), file=sys.stderr, flush=True)
            os._exit(1)

    def _send(self, word: Failure | bool) -> None:
        with self._sending:
            for line in list(self.lines):
                with suppress(OSError):  # a rank that is gone
                    line.send(word)


def watch_of(group: Single, name: str) -> Watch:
    """Connects all ranks; made on every rank at once. Raises OSError where they cannot be."""
    host, server = os.environ["MASTER_ADDR"], None
    if group.first:
        server = socket.create_server(("", 0), family=socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0][0])
    own = (server.getsockname()[1] if server else 0, secrets.token_hex(16).encode())
    port, token = group.from_first(lambda: own)
    if server:
        with server:
            lines = _accepted(server, group.count - 1, token)
    else:
        line = socket.create_connection((host, port), JOINING)
        line.sendall(b"%s %d\n" % (token, group.rank))
        if not line.recv(1):  # until then nothing else may be said
            raise ConnectionError("rank 0 has closed the connection")
        lines = {0: line}
    for line in lines.values():
        line.settimeout(None)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in _KEEP_ALIVE.keys() & vars(socket).keys():
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), _KEEP_ALIVE[option])
    return Watch(name, group.rank, group.place.local == 0, {Connection(s.detach()): n for n, s in lines.items()})


def _accepted(server: socket.socket, count: int, token: bytes) -> dict[int, socket.socket]:
    """The connections of so many ranks; others, which do not know the token, are dropped."""
    lines: dict[int, socket.socket] = {}
    last = time.monotonic() + JOINING
    while len(lines) < count:
        server.settimeout(max(last - time.monotonic(), 0.01))
        line, _ = server.accept()
        line.settimeout(HELLO)
        with suppress(OSError, ValueError):
            said, rank = line.makefile("rb").readline(100).split()
            if secrets.compare_digest(said, token):
                line.sendall(b"\n")
                lines[int(rank)] = line
                continue
        line.close()
    return lines
