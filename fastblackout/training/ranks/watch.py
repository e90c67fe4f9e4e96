"""How ranks learn within a minute that one of them has failed, died or lost its host, whatever they are waiting for.

torch.distributed waits for a rank that is gone until a timeout, and NCCL in a call that no signal ends. So every rank
keeps a connection to rank 0, which the system closes when its process ends, however it ends, and which its keep-alive
closes when its host is gone. Rank 0 passes on what it learns. Words are lines of JSON.

The agent of torchrun (read in torch 2.15) ends the ranks of its own host alone, by SIGTERM, when one of them ends; an
agent on another host sees none of it, and its ranks wait until that timeout. Nor does it say which rank failed and why
in one line, and under other launchers, which set the same variables, there is none.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ...ground.terminal import visible

if TYPE_CHECKING:
    from .group import Group

GRACE = 6.0  # seconds that the main thread has to end by itself once a rank has failed
# Seconds that a rank which has failed waits for the end of rank 0, for torchrun ends all others as soon as one ends:
# where all fail alike, rank 0 says so itself; else it is told by calls of gloo, once they fail.
LINGER = 3.0
NEWS = 3.0  # seconds in which the reason arrives for an error of torch.distributed that another rank has caused
JOINING, HELLO = 60.0, 5.0  # seconds in which all ranks must have connected, and each must say which it is
# A lost host: a first probe after 10 seconds of silence, then one every 5, the fourth without an answer ends it.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}


class Failure(NamedTuple):
    """What ended a rank: `kind` "failed", with the text of its error, "stopped", by a signal, or "died"."""

    rank: int
    kind: str
    text: str

    def __str__(self) -> str:
        if self.kind == "died":
            return f"rank {self.rank} died: it ended without an error (killed, out of memory, or its host is lost)"
        return f"rank {self.rank}: {self.text}"


@dataclass
class _Peer:
    """The connection to a rank, what has arrived of its next line, and whether it is inside `together`."""

    rank: int
    line: socket.socket
    begun: bytes = b""
    inside: bool = False


@dataclass
class Watch:
    """The connections of this rank, which a thread of their own reads: of rank 0 one to every other, of others one.

    name: what stands before a message of this thread. speaks: whether this rank tells the user of failures.
    """

    name: str
    rank: int
    speaks: bool
    peers: list[_Peer]
    failure: Failure | None = None
    inside: bool = False
    ending: bool = False  # whether the main thread knows of the failure, and ends by itself
    known: threading.Event = field(default_factory=threading.Event)
    alone: threading.Event = field(default_factory=threading.Event)  # no connection is left
    sending: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        threading.Thread(target=self._listen, name="ranks", daemon=True).start()

    def begin(self) -> None:
        """From here on the end of another rank is a failure, and the end of this one is a failure for the others."""
        self.inside = True
        self._send({"kind": "begin"})

    def end(self) -> None:
        """The work that ranks share is done."""
        self.inside = False
        self._send({"kind": "end"})

    def verdict(self, kind: str, text: str, perhaps_theirs: bool) -> Failure | None:
        """The failure of another rank that is the reason of this one's error; where there is none, the others are told.

        perhaps_theirs: whether the error may be no more than a trace of theirs.
        """
        self.ending = True
        if perhaps_theirs:
            self.known.wait(NEWS)
        if self.failure is not None and perhaps_theirs and not (kind == self.failure.kind == "stopped"):
            return self.failure
        self._send({"kind": kind, "text": text, "rank": self.rank})
        return None

    def linger(self) -> None:
        """Waits for the end of rank 0, which tells the user why."""
        if self.rank != 0:
            self.alone.wait(LINGER)

    def _listen(self) -> None:
        with selectors.DefaultSelector() as all_of_them:
            for peer in self.peers:
                all_of_them.register(peer.line, selectors.EVENT_READ, peer)
            while all_of_them.get_map():
                for key, _ in all_of_them.select():
                    if not self._hear(key.data):
                        all_of_them.unregister(key.fileobj)
        self.alone.set()

    def _hear(self, peer: _Peer) -> bool:
        """Reads what a rank says; False once it is gone."""
        try:
            content = peer.line.recv(1 << 16)
        except OSError:  # no answer to the keep-alive
            content = b""
        *lines, peer.begun = (peer.begun + content).split(b"\n")
        for line in lines:
            word = json.loads(line)
            if word["kind"] in ("begin", "end"):
                peer.inside = word["kind"] == "begin"
            else:
                self._learn(Failure(word["rank"], word["kind"], word["text"]))
        if not content and peer.inside:
            self._learn(Failure(peer.rank, "died", ""))
        return bool(content)

    def _learn(self, failure: Failure) -> None:
        if self.failure is None and self.inside:
            self.failure = failure
            self.known.set()
            if self.rank == 0:
                self._send(failure._asdict())
            threading.Thread(target=self._end_late, name="ranks: end", daemon=True).start()

    def _end_late(self) -> None:
        """Ends a process whose main thread waits where no signal and no error reaches it, as in a call of NCCL."""
        time.sleep(GRACE)
        if not self.ending:
            if self.shows(self.failure):
                print(visible(f"{self.name}: {self.failure}"), file=sys.stderr, flush=True)
            self.linger()
            os._exit(1)

    def shows(self, failure: Failure | None) -> bool:
        """Whether this rank tells the user of a failure; rank 1 tells of the death of rank 0, which cannot."""
        return self.speaks or (failure is not None and failure.kind == "died" and failure.rank == 0 and self.rank == 1)

    def _send(self, word: dict[str, Any]) -> None:
        line = json.dumps(word).encode() + b"\n"
        with self.sending:
            for peer in self.peers:
                with suppress(OSError):  # a rank that is gone
                    peer.line.sendall(line)


def watch_of(group: Group, name: str) -> Watch:
    """Connects all ranks; made on every rank at once. Raises OSError where they cannot be."""
    server = _server() if group.first else None
    address, token = group.from_first(lambda: (_address_of(server), secrets.token_hex(16)))
    if server is not None:
        with server:
            peers = _accepted(server, group.count - 1, token)
    else:
        line = socket.create_connection(address, JOINING)
        line.sendall(json.dumps({"rank": group.rank, "token": token}).encode() + b"\n")
        line.settimeout(JOINING)
        if not line.recv(1):  # until then nothing else may be said
            raise ConnectionError("rank 0 has closed the connection")
        peers = [_Peer(0, line)]
    for peer in peers:
        peer.line.settimeout(None)
        peer.line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE.items():
            if hasattr(socket, option):
                peer.line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    watch = Watch(name, group.rank, group.place.local == 0, peers)
    watch.start()
    return watch


def _server() -> socket.socket:
    family = socket.getaddrinfo(os.environ["MASTER_ADDR"], 0, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server(("", 0), family=family)


def _address_of(server: socket.socket | None) -> tuple[str, int]:
    """Where the other ranks reach this one: by the address it has on the way to MASTER_ADDR, or there."""
    assert server is not None
    master = os.environ["MASTER_ADDR"]
    where = socket.getaddrinfo(master, 9, family=server.family, type=socket.SOCK_DGRAM)[0][4]
    with socket.socket(server.family, socket.SOCK_DGRAM) as probe:
        probe.connect(where)  # of datagrams: nothing is sent
        own = str(probe.getsockname()[0])
    local = ipaddress.ip_address(own.partition("%")[0]).is_loopback
    return master if local else own, server.getsockname()[1]


def _accepted(server: socket.socket, count: int, token: str) -> list[_Peer]:
    """The connections of so many ranks; others, which do not know the token, are dropped."""
    found: dict[int, _Peer] = {}
    last = time.monotonic() + JOINING
    while len(found) < count:
        server.settimeout(max(last - time.monotonic(), 0.01))
        line, _ = server.accept()
        line.settimeout(HELLO)
        try:
            with line.makefile("rb", buffering=0) as file:
                word = json.loads(file.readline(1 << 10))
            if not secrets.compare_digest(word["token"], token):
                raise ValueError("another token")
            found[word["rank"]] = _Peer(word["rank"], line)
            line.sendall(b"\n")
        except (OSError, ValueError, TypeError, KeyError):
            line.close()
    return list(found.values())
