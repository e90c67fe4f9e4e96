"""One reader under libFuzzer, by atheris: contents that reach new code are kept and changed further.

A process of its own, started by __main__.py, as libFuzzer ends it at what it finds."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path[0] = str(Path(__file__).parents[1])
sys.path.insert(1, str(Path(__file__).parents[2]))

_OURS = [f"fastblackout.{part}" for part in ("data", "ground", "training", "models")]
with atheris.instrument_imports(include=[*_OURS, "numpy.lib", "zipfile", "pickletools", "json"]):
    from support.installed import use_compiled_package

    use_compiled_package()
    from fuzz.once import read_once
    from fuzz.readers import READERS


def main() -> None:
    name, flags = sys.argv[1], sys.argv[2:]
    mutate = READERS[name].mutate

    def changed(content: bytes, most: int, seed: int) -> bytes:
        assert mutate is not None
        return mutate(content, seed)[:most]

    def read(content: bytes) -> None:
        read_once(name, content)

    atheris.Setup([sys.argv[0], *flags], read, **({"custom_mutator": changed} if mutate else {}))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
