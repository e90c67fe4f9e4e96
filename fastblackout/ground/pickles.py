"""Pickle files of strangers, read in a process of its own with limits of memory and time.

Python's unpickler does it, to which a name in a file is a record of what the file asks for, and never code. Lists,
dictionaries, numbers, text and bytes come back. A file that takes more than its size allows ends that process alone.
This module is the program of the process, too, so that it imports nothing of the package.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Collection
from typing import Any, NamedTuple

# Bytes of memory that any file may take, and that a byte of one may: a million losses, as NumPy pickles them, take 20.
_MEMORY, _MEMORY_A_BYTE, _MOST_MEMORY = 1 << 28, 32, 1 << 32
_SECONDS, _BYTES_A_SECOND = 10, 1 << 22  # of processor time; the same losses take a second for 10 MB
_ANSWER, _ANSWER_A_BYTE = 1 << 20, 4  # bytes that come back
_BYTES = "\0"  # the key of what stands for bytes in the answer


class Refused(ValueError):
    """What a file asks for or holds is not what its reader needs."""


class Unpickled(NamedTuple):
    """What one pickle holds.

    keys: of a dictionary all that it has, as text. value: of a dictionary those of its items that were asked for, else
    all of it. A name in it is text, a call of one a list of the name, the arguments and the state that was given to the
    result; tuples are lists. identities: what the file says that lies outside of the pickle.
    """

    keys: list[str] | None
    value: Any
    identities: list[Any]


def unpickled(
    content: bytes, names: Collection[str], wanted: Collection[str], count: int = 1
) -> tuple[list[Unpickled], int]:
    """What the first pickles in `content` hold, `count` of them, and the number of bytes that they take.

    names: those that a file may use, module and name joined by a dot. wanted: keys of dictionaries. Raises `Refused`.
    """
    memory = min(_MEMORY + _MEMORY_A_BYTE * len(content), _MOST_MEMORY + len(content))
    seconds = _SECONDS + len(content) // _BYTES_A_SECOND
    asked = json.dumps([list(names), list(wanted), count, memory, seconds])
    command = [sys.executable, "-IS", __file__, asked]
    # Files in memory, which take less time than pipes.
    with open(os.memfd_create("pickle"), "r+b") as given, open(os.memfd_create("answer"), "r+b") as answered:
        given.write(content)
        given.seek(0)
        status = subprocess.run(command, stdin=given, stdout=answered, stderr=subprocess.DEVNULL).returncode
        answered.seek(0)
        head, parts = answered.readline(), io.BytesIO(answered.read())
    if status == -signal.SIGXCPU:
        raise Refused(f"it takes more than {seconds} seconds to read")
    if status or not head:
        raise Refused(f"the process that read it ended with status {status}")
    try:
        answer = json.loads(head, object_hook=lambda value: parts.read(value[_BYTES]) if _BYTES in value else value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(f"it is damaged: {error}") from None
    if isinstance(answer, str):
        raise Refused(answer)
    return [Unpickled(*pickled) for pickled in answer[0]], answer[1]


class _Dictionary(dict[Any, Any]):
    def __setstate__(self, state: Any) -> None:
        """The attributes of an OrderedDict are passed over."""


class _Call(list[Any]):
    def __setstate__(self, state: Any) -> None:
        self[2] = state


class _Name(str):
    def __call__(self, *arguments: Any) -> _Call:
        return _Call([self, arguments, None])


_MADE = {
    "collections.OrderedDict": _Dictionary,
    "_codecs.encode": lambda characters, encoding: characters.encode("latin-1"),  # bytes, of Python 3 by protocol 2
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, names: Collection[str]) -> None:
        super().__init__(stream, encoding="bytes")
        self.names, self.identities = names, list[Any]()

    def find_class(self, module: str, name: str) -> Any:
        if (asked := f"{module}.{name}") not in self.names:
            raise Refused(f"it asks for {asked[:80]!r}, which is refused")
        return _MADE.get(asked) or _Name(asked)

    def persistent_load(self, identity: Any) -> Any:
        self.identities.append(identity)
        return identity


def _answer(content: bytes, names: list[str], wanted: list[str], count: int) -> list[bytes]:
    """A line of JSON, then the bytes that it leaves out."""
    stream, pickles, left_out = io.BytesIO(content), [], list[bytes]()

    def in_place_of(value: Any) -> dict[str, int]:
        if not isinstance(value, bytes):
            raise Refused(f"it holds a value of type {type(value).__name__}")
        left_out.append(value)
        return {_BYTES: len(value)}

    for _ in range(count):
        unpickler = _Unpickler(stream, names)
        value, keys = unpickler.load(), None
        if isinstance(value, dict):
            value = {key.decode("latin-1") if isinstance(key, bytes) else str(key): it for key, it in value.items()}
            keys, value = list(value), {key: value[key] for key in wanted if key in value}
        pickles.append([keys, value, unpickler.identities])
    head = json.dumps([pickles, stream.tell()], default=in_place_of).encode()
    if len(head) + sum(map(len, left_out)) > _ANSWER + _ANSWER_A_BYTE * len(content):
        raise Refused("it holds far more than its bytes can")
    return [head, b"\n", *left_out]


def _main() -> None:
    *asked, memory, seconds = json.loads(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = _answer(sys.stdin.buffer.read(), *asked)
    except Refused as error:
        answer = [json.dumps(str(error)).encode()]
    except MemoryError:
        answer = [json.dumps(f"it takes more than {memory} bytes of memory to read").encode()]
    except Exception as error:  # a damaged file may fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        answer = [json.dumps(f"it is damaged: {reason}").encode()]
    sys.stdout.buffer.writelines(answer)


if __name__ == "__main__":
    _main()
