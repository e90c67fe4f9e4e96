"""Runs a command of the documentation as it stands, but for what would take minutes: see test_documentation.py.

python documented_program.py fastblackout|torchrun|pip|pytest ARGUMENT ...

A process of fastblackout imports torch and more for seconds. So the server of forks.py, at the socket whose number is
in the environment, forks for each.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from importlib.util import find_spec
from pathlib import Path

SOCKET = "FASTBLACKOUT_DOCUMENTED_PROGRAM"

# What is added to a command that does not name it.
SHORTER = {
    "train": {"--steps": 4, "--batch": 16, "--channels": 8, "--checkpoint-every": 2, "--sample-every": 0},
    "sample": {"--num": 4, "--steps": 4},
    "evaluate": {"--num": 20, "--steps": 4, "--bits": 2},
    "plot": {"--steps": 4},
}
SHORTER_OF_CELLS = {
    "train": {"--steps": 4, "--width": 8},
    "sample": {"--num": 4, "--steps": 4},
    "evaluate": {"--steps": 4},
}


def names(arguments, option):
    return any(argument == option or argument.startswith(f"{option}=") for argument in arguments)


def of_cells(arguments):
    """Whether the command is of a cell model, whose options are others."""
    if not any(".h5ad" in argument for argument in arguments):
        return False
    from fastblackout.cli.cells_command import is_of_cells

    return is_of_cells(arguments)


def fastblackout(arguments):
    if names(arguments, "--resume"):
        return resume(arguments)
    shorter = dict((SHORTER_OF_CELLS if of_cells(arguments) else SHORTER).get(arguments[0], {}))
    if names(arguments, "--epochs") or names(arguments, "--grid"):
        shorter.pop("--steps", None)
    if arguments[0] == "tune":  # the last of an option counts
        return ask([*arguments, "--minutes=0.01", "--num=30"])
    added = [f"{option}={value}" for option, value in shorter.items() if not names(arguments, option)]
    return ask([*arguments, *added])


def torchrun(arguments):
    """One process of all that torchrun would start; its own options must exist."""
    from torch.distributed.run import get_args_parser

    given = get_args_parser().parse_args(arguments)
    if not given.module or given.training_script != "fastblackout":
        sys.exit(f"torchrun: only -m fastblackout is known here, got {arguments}")
    return fastblackout(given.training_script_args)


def resume(arguments):
    """Takes the run's last checkpoint away, as if it had been interrupted before, and wants the same bytes back."""
    out = arguments[arguments.index("--out") + 1] if "--out" in arguments else f"runs/{arguments[1]}"
    last = max(Path(out, "checkpoints").iterdir())
    with tempfile.TemporaryDirectory() as folder:
        taken = Path(shutil.move(last, folder))
        status = ask(arguments)
        for file in taken.rglob("*.safetensors") if status == 0 else ():
            if file.read_bytes() != (last / file.relative_to(taken)).read_bytes():
                sys.exit(f"{last}: resumed to another {file.name}")
    return status


def ask(arguments):
    """The exit status of fastblackout with these arguments, in this folder and environment, on these three files."""
    line = ["import sys; from fastblackout.cli.command_line import main; sys.exit(main())", *arguments]
    report, told = os.pipe()
    with socket.socket(fileno=int(os.environ[SOCKET])) as server:
        socket.send_fds(server, [json.dumps([os.getcwd(), dict(os.environ), line]).encode()], [0, 1, 2, told])
        server.detach()
    os.close(told)
    with open(report) as lines:
        _, status = map(int, lines)
    return status & 255


def pytest(arguments):
    shorter = ["--quick", "-k", "test_rows"] if "benchmarks/" in arguments else ["tests/ops/test_philox.py"]
    return subprocess.run([sys.executable, "-m", "pytest", *arguments, *shorter]).returncode


def pip(arguments):
    """Refuses what pip would not install, and a package that is neither this one nor imported by it."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    if arguments[0] != "install" or len(arguments) != 2:
        sys.exit(f"pip: only `pip install WHAT` is known here, got {arguments}")
    what = re.fullmatch(r"(?:\.|fastblackout)(?:\[(.+)\])?", arguments[1])
    if what is None:
        sources = Path(find_spec("fastblackout").origin).parent.rglob("*.py")
        imported = re.compile(rf"^ *import {re.escape(arguments[1])}$", re.MULTILINE)
        if not any(imported.search(file.read_text()) for file in sources):
            sys.exit(f"pip: fastblackout never imports {arguments[1]}")
        return 0
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = what[1].split(",") if what[1] else []
    here = {Requirement(line).name for line in [*project["dependencies"], *extras["test"]]}
    for requirement in map(
        Requirement, [*project["dependencies"], *(line for name in wanted for line in extras[name])]
    ):
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            if requirement.name in here:
                sys.exit(f"pip: {requirement} is not installed")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            sys.exit(f"pip: {requirement} is asked for, {found} is installed")
    return 0


if __name__ == "__main__":
    programs = {"fastblackout": fastblackout, "torchrun": torchrun, "pip": pip, "pytest": pytest}
    sys.exit(programs[sys.argv[1]](sys.argv[2:]))
