"""README.md, CONTRIBUTING.md and docs/ are true: every code block runs; every link, option and name exists.

The blocks of a document run in their order and as they stand. Python blocks share one namespace; a bash block is run by
bash, which stops at the first line that fails. All of a document's blocks work in one temporary folder, which holds a
copy of what a clone of the repository holds, but for the package and its kernels: those are the ones under test.
A block in any language but `python` and `bash` must be `text`, which is what a program prints.

What differs from a reader's machine (documented_program.py, first on the PATH, sees to it), since the commands would
take hours, download, or run this test again:
- `fastblackout train | sample | evaluate | plot` get options that make them short: 4 steps, batches of 16, 8 channels
  and no pictures of samples for training; 4 or 20 samples of 4 steps, and the likelihood of 2 images. Each is added
  only where the command does not name it. All else is real: the parser, the data, the files written and read. The
  commands are forks of one process, which has imported what they need.
- Before `fastblackout train ... --resume` the run's last checkpoint is taken away, since a run that the commands above
  it have finished has nothing to go on with; the run must then end in the bytes of that checkpoint.
- `torchrun` starts one process in the place of all; its own options must exist.
- `pip install` installs nothing. The extra must be in pyproject.toml, its requirements installed as far as the tests
  require them too, and in the versions it asks for; another package must be one that fastblackout imports.
- In Python, a loop over a `range` of 100 or more is one of 4, and a `CellModel` trains for 4 steps by default.
- `pytest` runs one test file instead of all, and `pytest benchmarks/` one case.
- data/ holds small files in the format of MNIST, so that --download finds nothing missing.
"""

import doctest
import importlib.util
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from torch.distributed.run import get_args_parser

import fastblackout as fb
from fastblackout.cli.cells_command import is_of_cells
from fastblackout.cli.command_line import build_parser, main
from fastblackout.ops.capabilities import public_ops
from support import ROOT
from support.forks import server
from support.mnist import mnist_files
from support.subprocesses import elsewhere

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
DOCUMENTS += [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
PAGES, FILES = f"{REPOSITORY}/blob/main/", f"{REPOSITORY.replace('github.com', 'raw.githubusercontent.com')}/main/"
TRAINING = (
    "training",
    "diffusers",
    "data",
    "sampling",
    "evaluation",
    "heads",
    "start-images",
    "start-cells",
    "start-photons",
)
LONG = ("CONTRIBUTING.md", "docs/performance.md", *(f"docs/{name}.md" for name in TRAINING))  # 10 to 30 s each
LANGUAGES = ("python", "bash", "text")
FENCE = re.compile(r"[ >]*(`{3,}|~{3,})([^`]*)")
CLONE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "pyproject.toml", "benchmarks", "docs", "examples", "tests")
PROGRAMS = ("fastblackout", "torchrun", "pip", "pytest")


class Block(NamedTuple):
    line: int
    language: str
    code: str


def blocks(text):
    """Every code block of a Markdown text. ValueError for one that would not be run: no language, no end, indented."""
    found, fence, before = [], None, ""
    for number, line in enumerate(text.splitlines(), 1):
        match = FENCE.fullmatch(line)
        if fence is None and match:
            fence, language, start, code = match[1], match[2].strip(), number, []
            if language not in LANGUAGES:
                raise ValueError(f"line {number}: a block must be one of {LANGUAGES}, got {language!r}")
        elif fence is None and not before.strip() and re.match(r"( {4}|\t)(?!\s*([-*+]|\d+\.) )", line):
            raise ValueError(f"line {number}: a block of code must stand between fences, got an indented one")
        elif match and match[1].startswith(fence) and not match[2].strip():
            found.append(Block(start, language, "\n".join(code) + "\n"))
            fence = None
        elif fence is not None:
            code.append(line)
        before = line
    if fence is not None:
        raise ValueError(f"line {start}: the block has no end")
    return found


def outside_blocks(text):
    """The text with the lines of its code blocks left empty."""
    lines = text.splitlines()
    for block in blocks(text):
        for number in range(block.line - 1, block.line + block.code.count("\n") + 1):
            lines[number] = ""
    return "\n".join(lines)


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs a script in bash, where the programs that must be short come first; (exit status, output)."""
    folder = tmp_path_factory.mktemp("programs")
    for name in PROGRAMS:
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/support/documented_program.py {name} "$@"\n')
        program.chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    forks = server().fileno()
    environment = elsewhere(PATH=path, MPLBACKEND="Agg", OMP_NUM_THREADS="1", XDG_STATE_HOME=str(folder / "state"))
    environment["FASTBLACKOUT_DOCUMENTED_PROGRAM"] = str(forks)

    def run_in_bash(script):
        out = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(["bash", "-c", script], env=environment, pass_fds=[forks], **out)
        return done.returncode, done.stdout

    return run_in_bash


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder like a clone of the repository, and the current one."""
    for name in CLONE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    mnist_files(tmp_path / "data", ".gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def short_range(*given):
    """A loop of 100 or more is a training."""
    return range(4) if len(given) == 1 and given[0] >= 100 else range(*given)


def run(name, text, shell):
    """Runs a document's blocks, in the current folder; the namespace of its Python blocks."""
    names = {"__name__": "__main__", "range": short_range}
    for block in blocks(text):
        if block.language == "python":
            exec(compile("\n" * block.line + block.code, name, "exec"), names)
        elif block.language == "bash":
            lines = block.code.replace("\\\n", " ").splitlines()
            # Not `set -e`, which overlooks a failure before &&.
            script = "\n".join(f"{line}\n(exit $?) || exit" for line in lines)
            status, output = shell(script)
            assert status == 0, f"{name}, line {block.line}:\n{block.code}\n{output[-4000:]}"
    return names


TEXTS = {name: (ROOT / name).read_text() for name in DOCUMENTS}
TO_RUN = [name for name, text in TEXTS.items() if re.search(r"^[ >]*[`~]{3,}(python|bash)", text, re.MULTILINE)]


@pytest.mark.parametrize("name", sorted(set(DOCUMENTS) - set(TO_RUN)))
def test_other_documents_have_texts_alone(name):
    assert {block.language for block in blocks(TEXTS[name])} <= {"text"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in TO_RUN]
)
def test_every_block_runs_as_it_stands(clone, shell, name, monkeypatch, tmp_path_factory):
    monkeypatch.setattr("fastblackout.cells.model.MOST_STEPS", 4)
    if name == "docs/diffusers.md":  # an extra that the tests do not ask for
        pytest.importorskip("diffusers", reason="diffusers is not installed: pip install '.[diffusers]'")
    if name.startswith("docs/start-"):  # these are notebooks too, which need no clone
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    names = run(name, (clone / name).read_text(), shell)
    if name.startswith("docs/processes/"):
        assert names["x_s"].shape == names["x_t"].shape == names["x_0"].shape
        assert (names["rates"] >= 0).all() and names["rates"].sum() > 0


@pytest.mark.parametrize(
    "text",
    [
        "```\nls\n```\n",
        "```console\n$ ls\n```\n",
        "- a list\n\n  ~~~sh\n  ls\n  ~~~\n",
        "```bash\nls\n",
        "Code:\n\n    ls\n",
    ],
)
def test_no_block_escapes(text):
    with pytest.raises(ValueError, match="block"):
        blocks(text)


@pytest.mark.parametrize(
    "code",
    [
        "bash\nfalse && true\ntrue",
        "bash\npip install '.[nothing]'",
        "bash\npip install torchvison",
        "bash\nfastblackout train digits --frobnicate",
        "python\nassert 'x' not in globals()\n```\n```python\nx",
    ],
)
def test_a_block_that_fails_is_seen(clone, shell, code):
    with pytest.raises((AssertionError, NameError)):
        run("a document", f"```{code}\n```\n", shell)


def slugs(text):
    """What a link with # may name: the headings as GitHub writes them."""
    headings = re.findall(r"^#+ +(.*?) *$", outside_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text):
    return re.findall(r"\]\(([^()\s]+)[^()]*\)", outside_blocks(text))


def test_the_links_of_the_readme_are_whole():
    """PyPI shows it, too, which knows no other file."""
    text = (ROOT / "README.md").read_text()
    assert [target for target in links(text) if not target.startswith("https://")] == []
    pictures = re.findall(r"!\[[^]]*\]\(([^()\s]+)\)", text)
    assert pictures and all(picture.startswith(FILES) for picture in pictures)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name):
    text = (ROOT / name).read_text()
    for target in links(text):
        path, _, heading = target.removeprefix(PAGES).removeprefix(FILES).partition("#")
        if re.match(r"https?://", path):
            continue
        folder = ROOT if target.startswith((PAGES, FILES)) else (ROOT / name).parent
        file = folder / path if path else ROOT / name
        assert file.exists(), f"{name}: {target}"
        assert not heading or heading in slugs(file.read_text()), f"{name}: {target}"


def parses(*words):
    try:
        build_parser(is_of_cells(words)).parse_args(words)
    except SystemExit as stop:
        return stop.code == 0  # --help
    return True


def test_every_option_is_one_of_a_parser(capsys):
    """By its whole name. What prose gives as a command, or as an option and its value, is also parsed."""
    convert = ["convert", "FILE", "OUT", "--from", "lanl", "--dataset", "cifar10"]
    denoise, export = ["denoise", "IMAGE", "--share", ".1"], ["export", "RUN", "FOLDER"]
    commands = (["train", "digits"], ["sample"], ["evaluate"], ["tune"], ["plot"], export, convert, denoise)
    files = [["split", "FILE", "PART", "PART"], ["thin", "FILE", "OUT"], ["downsample", "FILE", "OUT"]]
    for command in (*commands, ["info"], ["bench"], ["train", "FILE.h5ad"], ["impute", "MODEL", "FILE.h5ad"], *files):
        assert parses(*command, "--help-all")
    for command in ("sample", "evaluate"):  # of a cell model
        with pytest.raises(SystemExit, match="0"):
            build_parser(True).parse_args([command, "--help-all"])
    options = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out + get_args_parser().format_help()))
    options |= {"--index-url", "--no-build-isolation", "--pdb", "--durations"}  # of pip and pytest
    for part in ("benchmarks", "examples", "tests/battery", "tests/fuzz", "tests/faults"):
        for script in (ROOT / part).rglob("*.py"):
            options.update(re.findall(r'"(--[a-z][a-z-]*)"', script.read_text()))
    for name in DOCUMENTS:
        text = (ROOT / name).read_text()
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= options, name
        for span in re.findall(r"`([^`\n]+)`", outside_blocks(text)):
            words = shlex.split(span) if re.match(r"--\S+ |fastblackout \w", span) else []
            if words[:1] == ["fastblackout"]:
                assert parses(*words[1:]), f"{name}: {span}"
            elif words:
                assert any(parses(*command, *words) for command in commands), f"{name}: {span}"
    assert not parses("train", "digits", "--frobnicate")


def test_every_name_of_the_package_exists():
    for name in DOCUMENTS:
        for path in re.findall(r"\b(?:fb|fastblackout)((?:\.[A-Za-z_]\w*)+)", (ROOT / name).read_text()):
            if importlib.util.find_spec("diffusers") or not path.startswith(".diffusers"):
                pkgutil.resolve_name(f"fastblackout{path}")


def test_readme_and_info_name_all_ops(capsys):
    table = (ROOT / "README.md").read_text().split("## The ops\n")[1].split("## ")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    named = re.findall(r"`(\w+)", " ".join(rows))
    kernels = fb.capabilities()["reference"]["ops"]
    assert sorted(named) == public_ops()
    assert f"{len(named)} ops, {len(kernels)} with a kernel on every backend" in table
    assert main(["info"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    told, listed = text.split(f"{len(named)} ops, {len(kernels)} of them with a kernel on every backend ")
    lists = [each.strip().split(", ") for each in re.split("with kernels|others|recipes of", listed)[1:3]]
    assert lists[0] == kernels and sorted(lists[0] + lists[1]) == public_ops() and f"all {len(kernels)} kernels" in told


@pytest.mark.parametrize("name", [name for name in fb.ops.__all__ if not hasattr(getattr(fb, name), "_fields")])
def test_the_example_of_an_op_gives_what_it_says(name):
    """The bits of a draw are the same everywhere, so its example states them."""
    (found,) = doctest.DocTestFinder(recurse=False).find(getattr(fb, name), name, globs={"fb": fb, "np": np})
    failed, tried = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(found)
    assert tried >= 1 and not failed
