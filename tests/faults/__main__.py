"""Plays rounds of faults in trainings, as many as are asked for, and tells the first that leaves a difference."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # where `faults` and `support` lie
sys.path.insert(1, str(Path(__file__).parents[2]))

from support.installed import use_compiled_package  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--seed", type=int, help="of the first round; by default a new one, which is printed")
    options = parser.parse_args()
    if (reason := use_compiled_package()) is not None:
        parser.error(reason)
    import torch

    from faults import rounds

    torch.set_num_threads(1)
    first = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    print(f"seed {first}", flush=True)
    kinds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        seconds = rounds.whole(folder / "whole")
        expected = rounds.content(folder / "whole")
        for number in range(first, first + options.rounds):
            try:
                story = rounds.play(number, expected, seconds, folder)
            except rounds.Difference as difference:
                print(difference)
                return 1
            kinds.update(each.split(":")[0].split()[0] for each in story)
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    print(f"{options.rounds} rounds: {told}; weights, optimizer, samples and log as of an uninterrupted training")
    return 0


if __name__ == "__main__":
    sys.exit(main())
