"""Several processes at one command: the files and figures of one, and how all of them end."""

import contextlib
import json
import shutil
import signal

import numpy as np
import pytest

from fastblackout.cli.command_line import main
from fastblackout.training.checkpoint import EMA, NETWORK, OPTIMIZER, has_checkpoint, load_checkpoint
from fastblackout.training.journal import read_log
from support import today
from support.ranks import ranks, send, wait_for

pytestmark = pytest.mark.slow
NIGHT = pytest.mark.skipif(not today.NIGHT, reason="for nights (.ci/nightly): like another case")

TRAIN = ["train", "array", "--data=counts.npz", "--batch=9", "--channels=8", "--threads=1", "--schedule-steps=60"]
TRAIN += ["--dropout=0", "--sample-every=0", "--log-every=1", "--held-out-every=2", "--quiet"]
SAMPLE = ["sample", "one", "--threads=1", "--steps=5", "--quiet"]
ENDS = {"npz": ".npz", "adm": ".npz", "png": ""}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Data, and a run of 4 steps by one process."""
    folder = tmp_path_factory.mktemp("home")
    with contextlib.chdir(folder):
        images = np.random.default_rng(0).integers(0, 12, (40, 8, 8))
        np.savez("counts.npz", images=images, labels=np.arange(40) % 3)
        assert main([*TRAIN, "--conditional", "--steps=4", "--out=one"]) == 0
    return folder


def records(run):
    return [{k: v for k, v in record.items() if k != "images_per_second"} for record in read_log(run / "log.jsonl")]


def same_to_rounding(one, other):
    for mine, theirs in zip(records(one), records(other), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)
    for name in (NETWORK, EMA, OPTIMIZER):
        mine, theirs = (load_checkpoint(run).tensors(name) for run in (one, other))
        assert mine.keys() == theirs.keys()
        assert all(np.allclose(mine[key], theirs[key], rtol=1e-2, atol=1e-4) for key in mine)


def test_every_command_does_what_one_process_does(place):
    """Training in parts of a batch, and resumed by two ranks what one began and the other way; files of all formats to
    the byte, figures of `evaluate` to the bit."""
    more = [*TRAIN, "--conditional"]
    shutil.copytree("one", "two-resumed")
    files = ["--num=11", "--first=3", "--batch=3", "--gif"]
    drawn = [[*SAMPLE, *files, f"--format={kind}", f"--out={{}}-{kind}{end}"] for kind, end in ENDS.items()]
    drawn += [[*SAMPLE, "--num=1", "--out={}-single.npz", "--guidance=1", "--label=2"]]
    judged = ["evaluate", "one", "--data=counts.npz", "--num=9", "--seeds=2", "--bits=4", "--steps=5", "--quiet"]
    judged += ["--json={}.json"]
    commands = [
        *([word.format("two") for word in line] for line in [*drawn, judged]),
        [*more, "--steps=4", "--out=two"],
        [*more, "--steps=4", "--out=two-parts", "--accumulate=3"],
        [*more, "--steps=7", "--out=two-resumed", "--resume"],
    ]
    with ranks(place, commands, commands) as wait:
        found = wait()
    assert [end[0] for end in found] == [0, 0], found
    assert found[1][1:] == ("", "")
    for line in [*drawn, judged]:
        assert main([word.format("one") for word in line]) == 0
    assert json.loads((place / "one.json").read_text()) == json.loads((place / "two.json").read_text())
    mine, theirs = ({path.name.replace(n, ""): path for path in files_of(place, n)} for n in ("one", "two"))
    assert mine.keys() == theirs.keys() and len(mine) == 25
    for name, path in mine.items():
        assert path.read_bytes() == theirs[name].read_bytes(), name

    same_to_rounding(place / "one", place / "two")
    same_to_rounding(place / "one", place / "two-parts")
    for run in ("one", "two"):  # what one process and what two have begun
        assert main([*more, "--steps=7", f"--out={run}", "--resume"]) == 0
        same_to_rounding(place / run, place / "two-resumed")


def files_of(place, name):
    """The samples and their pictures whose name, or whose folder's name, begins with this one."""
    kinds = (".npz", ".png", ".gif")
    found = [path for path in place.rglob("*") if path.suffix in kinds and path.name != "loss.png"]
    return [path for path in found if path.relative_to(place).parts[0].startswith(name)]


LONG = [*TRAIN, "--steps=1000000", "--checkpoint-every=5", "--out=run"]
MISSING = [word.replace("counts", "nothing") for word in TRAIN]


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ((MISSING, MISSING), "load: data: must be a .npy, .npz or .tif file, got nothing.npz, which does not exist"),
        (
            (TRAIN, MISSING),
            "rank 1: load: data: must be a .npy, .npz or .tif file, got nothing.npz, which does not exist",
        ),
        *(
            pytest.param(commands, words, marks=NIGHT)
            for commands, words in (
                ((TRAIN, [*TRAIN, "--batch=8"]), "batch: must be the same on all ranks, got 9 on 0, 8 on 1"),
                (([*TRAIN, "--batch=1"],) * 2, "batch: must be at least 2, 2 processes times accumulate 1, got 1"),
            )
        ),
    ],
)
def test_a_mistake_is_told_once(place, commands, words):
    with ranks(place, *([[*command, "--out=new"]] for command in commands)) as wait:
        assert wait() == [(1, "", f"fastblackout train: {words}\n"), (1, "", "")]
    assert not (place / "new").exists()


@pytest.mark.parametrize("dies", [pytest.param(0, marks=NIGHT), 1])
def test_a_rank_that_dies_ends_the_other(place, dies):
    with ranks(place, [LONG], [LONG]) as wait:
        wait_for(lambda: has_checkpoint(place / "run") and load_checkpoint(place / "run").step >= 5)
        send(place, dies, signal.SIGKILL)
        found = wait()
    assert found[dies] == (-signal.SIGKILL, "", "")
    why = "it ended without an error (killed, out of memory, or its host is lost)"
    said = f"fastblackout train: rank {dies} died: {why}\n"  # by the first rank of a host; else torchrun names it
    assert found[1 - dies] == (1, "", said if dies else "")
    assert main([*TRAIN, "--steps=1000000", "--out=run", "--resume", "--device=abacus"]) == 1  # the lock is free


@pytest.mark.parametrize(
    ("of", "number", "status"),
    [pytest.param((0, 1), signal.SIGTERM, 143, marks=NIGHT), ((1,), signal.SIGINT, 130)],
)
def test_a_signal_saves_and_ends_all(place, of, number, status):
    with ranks(place, [LONG], [LONG]) as wait:
        wait_for(lambda: has_checkpoint(place / "run") and load_checkpoint(place / "run").step >= 5)
        for rank in of:
            send(place, rank, number)
        found = wait()
    step = load_checkpoint(place / "run").step
    said = f"fastblackout train: stopped after step {step}; go on with --resume\n"
    assert found == [(status, "", said), (status, "", "")]
