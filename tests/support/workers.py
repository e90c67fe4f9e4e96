"""How many processes run the tests, where pytest-xdist is installed, and how they share them."""

import os
from pathlib import Path

MOST = 4  # each collects all tests, and comes to hold 2 GB

# Options of pytest about what a worker does not show.
TOLD = (
    "usepdb",
    "trace",
    "collectonly",
    "showfixtures",
    "show_fixtures_per_test",
    "setuponly",
    "setupshow",
    "setupplan",
)


def choose(options, arguments):
    """Sets the options of pytest-xdist that were not given: a worker for each core, but none for one file, nor where
    somebody looks on.

    A worker has its part of the tests in their order, and takes half of what another has left: few modules come to two
    workers, each of which makes the fixtures of a module for itself."""
    if options.numprocesses is None and options.dist == "no" and not options.tx:
        looked_at = options.capture == "no" or any(getattr(options, name) for name in TOLD)
        paths = {argument.partition("::")[0] for argument in arguments}
        if not looked_at and (len(paths) > 1 or any(Path(path).is_dir() for path in paths)):
            options.numprocesses = min(len(os.sched_getaffinity(0)), MOST)
    if options.numprocesses and options.dist == "no":
        options.dist = "worksteal"


def environment(of):
    """For a worker, which has a core: libraries and compilers would take all."""
    for name in ("OMP_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"):
        of.setdefault(name, "1")
