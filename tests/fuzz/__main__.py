"""Fuzzes every reader of files by coverage: no content may do more than be read, or be refused by an error of one line.

Needs atheris (pip install atheris). What is found is written to the folder --found, a file each, and to add one to what
every run of the tests reads again, add its base64 as a line to tests/fuzz/corpus/READER.txt.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import random
import re
import subprocess
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # where `fuzz` and `support` lie
sys.path.insert(1, str(Path(__file__).parents[2]))

from support.installed import use_compiled_package  # noqa: E402

_SECONDS, _MEGABYTES, _LONGEST = 30, 3000, 1 << 16  # what one content may take, and how long it may be


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*", metavar="READER", help="all by default: npy, npz, config, ...")
    parser.add_argument("--minutes", type=float, default=10, help="for each reader (default: %(default)g)")
    parser.add_argument("--seed", type=int, help="of the search; a new one by default, which is printed")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="a folder (default: %(default)s)")
    options = parser.parse_args()
    if (reason := use_compiled_package()) is not None:
        parser.error(reason)
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: pip install atheris")
    from fuzz.once import contents_of
    from fuzz.readers import READERS

    if unknown := set(options.readers) - READERS.keys():
        parser.error(f"no reader {', '.join(sorted(unknown))}; there are {', '.join(READERS)}")
    seed = random.SystemRandom().randrange(1, 1 << 31) if options.seed is None else options.seed
    print(f"seed {seed}\n{'reader':14}{'contents':>10}{'code reached':>14}{'seconds':>9}  found")
    bad = 0
    for name in options.readers or READERS:
        corpus, found = options.found / "corpus" / name, options.found / name
        for folder in (corpus, found):
            folder.mkdir(parents=True, exist_ok=True)
        for content in contents_of(name):
            (corpus / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
        started = time.monotonic()
        flags = {
            "max_total_time": round(60 * options.minutes), "timeout": _SECONDS, "rss_limit_mb": _MEGABYTES,
            "max_len": _LONGEST, "seed": seed, "artifact_prefix": f"{found}/",
        }  # fmt: skip
        line = [f"-{flag}={value}" for flag, value in flags.items()]
        command = [sys.executable, str(Path(__file__).with_name("guided.py")), name, *line, str(corpus)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        counts = re.findall(r"^#(\d+)\s", done.stderr, re.MULTILINE)
        reached = re.findall(r"cov: (\d+)", done.stderr)
        told = "nothing"
        if done.returncode:
            bad += 1
            said = re.findall(r"Finding: .*|ERROR: libFuzzer: .*", done.stderr)
            told = said[-1] if said else done.stderr.strip().splitlines()[-1]
        print(
            f"{name:14}{counts[-1] if counts else 0:>10}{reached[-1] if reached else 0:>14}"
            f"{time.monotonic() - started:9.0f}  {told}",
            flush=True,
        )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
