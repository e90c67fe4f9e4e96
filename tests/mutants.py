"""Mutation testing: changes of one line of code each, chosen by a seed, and whether the tests of their folder notice.

`python tests/mutants.py` runs all of mutants.json, with folders' names only theirs; `--choose N` chooses N a folder
anew. A mutant is found again by its line and the lines around it, so that code may move between files. One that tests
of an earlier state noticed must be noticed afterwards: compare what `--out` wrote then and now.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_name("mutants.json")
# Where code of a folder lies, and the tests that have to notice it: files, folders and options of pytest.
FOLDERS = {
    "ops": (["fastblackout/ops", "fastblackout/distributions.py", "fastblackout/jax"], "tests/ops tests/with_torch"),
    "reference": (["fastblackout/reference"], "tests/ops"),
    "call": (["fastblackout/call", "fastblackout/backends"], "tests/ops tests/with_torch tests/backends"),
    "csrc": (["csrc/cpu", "csrc/include", "csrc/bindings"], "tests/ops tests/backends"),
    "cuda": (["csrc/cuda"], "tests/backends -m '' --deselect=tests/backends/test_triton.py -k 'simt or cuda or ptx'"),
    "kernels": (["kernels"], "tests/backends -m '' -k triton"),
    "training": (["fastblackout/training"], "tests/training"),
    "sampling": (
        [f"fastblackout/{name}" for name in ("sampling", "blackout", "heads", "models", "schedule", "diffusers")],
        "tests/sampling tests/training",
    ),
    "evaluation": (
        [f"fastblackout/{name}" for name in ("evaluation", "likelihood", "tuning")],
        "tests/training tests/sampling tests/command_line",
    ),
    "processes": (["fastblackout/processes"], "tests/processes"),
    "cells": (
        ["fastblackout/cells", "fastblackout/photons.py"],
        "tests/cells tests/ops tests/command_line -k 'cell or photon'",
    ),
    "data": (["fastblackout/data"], "tests/training tests/command_line"),
    "cli": (["fastblackout/cli"], "tests/command_line"),
}
CODE = (".py", ".h", ".cuh", ".inc", ".cpp", ".cu")
BUILD = "pip install -q --no-deps --no-build-isolation -e ."
SWAPS = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "+": "-", "-": "+", "*": "/", "/": "*",
    "and": "or", "or": "and", "&&": "||", "||": "&&", "True": "False", "False": "True", "true": "false",
    "false": "true", "min": "max", "max": "min", "is": "is not", "in": "not in", "not": "", "all": "any", "any": "all",
    "//": "*", "%": "+", "break": "continue", "continue": "break",
}  # fmt: skip
SPACED = set("<>+-*/%")  # in C++ also of templates, pointers and signs: only between blanks


def files_of(folder: str) -> list[Path]:
    places = [ROOT / place for place in FOLDERS[folder][0]]
    return [
        file
        for place in places
        for file in (sorted(place.rglob("*")) if place.is_dir() else [place])
        if file.suffix in CODE and "__pycache__" not in file.parts
    ]


def changes(text: str, suffix: str) -> list[tuple[int, str]]:
    """All that a mutant may be of the code `text`: the number of a line, and the line changed."""
    lines = text.splitlines()
    places: list[tuple[int, int, int, str]] = []  # line, from, to, token
    if suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.OP, tokenize.NAME, tokenize.NUMBER):
                places.append((token.start[0] - 1, token.start[1], token.end[1], token.string))
    else:
        for number, line in enumerate(lines):
            code = line.split("//")[0]
            if code.lstrip().startswith(("#", "*")) or '"' in code:
                continue
            for match in re.finditer(r"&&|\|\||[<>=!]=|(?<= )[-<>+*/%](?= )|\b\d+\b|\b[a-z]+\b", code):
                places.append((number, match.start(), match.end(), match[0]))
    found = []
    for number, start, end, token in places:
        line = lines[number]
        if re.match(r"\s*(from|import|def|class|@|raise|assert|static_assert|template|using|namespace)\b|\s*@", line):
            continue
        new = str(int(token) + 1) if re.fullmatch(r"\d{1,6}", token) else SWAPS.get(token)
        if new is None or (suffix != ".py" and token in ("is", "in", "not", "all", "any", "and", "or")):
            continue
        if suffix == ".py" and token in SPACED and line[start - 1 : start] + line[end : end + 1] != "  ":
            continue
        if token in ("is", "in") and (
            line[end:].startswith(" not") or line[:start].endswith("not ") or " for " in line
        ):
            continue
        changed = line[:start] + new + line[end:]
        if suffix == ".py":
            try:
                compile("\n".join([*lines[:number], changed, *lines[number + 1 :]]), "mutant", "exec")
            except SyntaxError:
                continue
        found.append((number, changed))
    return found


def choose(count: int, seed: int) -> list[dict[str, object]]:
    chosen = []
    for folder in FOLDERS:
        generator = random.Random(f"{seed} {folder}")
        lines = [(file, number) for file in files_of(folder) for number, _ in enumerate(file.read_text().splitlines())]
        generator.shuffle(lines)
        taken = 0
        for file, number in lines:
            text = file.read_text()
            possible = [changed for line, changed in changes(text, file.suffix) if line == number]
            if possible:
                rows = text.splitlines()
                around = [rows[at].strip() if 0 <= at < len(rows) else "" for at in (number - 1, number + 1)]
                name = str(file.relative_to(ROOT))
                new = generator.choice(possible)
                chosen.append(
                    {
                        "folder": folder,
                        "file": name,
                        "line": number + 1,
                        "around": around,
                        "old": rows[number],
                        "new": new,
                    }
                )
                taken += 1
            if taken == count:
                break
    return chosen


def place_of(mutant: dict) -> tuple[Path, int] | None:
    """The file and line where the mutant's line is today: the best match of it and the lines around it."""
    best: list[tuple[int, Path, int]] = []
    for file in files_of(mutant["folder"]):
        rows = [row.strip() for row in file.read_text().splitlines()]
        for number, row in enumerate(rows):
            if row == mutant["old"].strip():
                near = sum(
                    0 <= at < len(rows) and rows[at] == text
                    for at, text in zip((number - 1, number + 1), mutant["around"], strict=True)
                )
                best.append((2 * near + (str(file.relative_to(ROOT)) == mutant["file"]), file, number))
    best.sort(key=lambda match: -match[0])
    if not best or (len(best) > 1 and best[0][0] == best[1][0]):
        return None
    return best[0][1], best[0][2]


def run(mutant: dict, seconds: float, workers: int) -> dict[str, object]:
    """Plant, build where it is compiled, run the tests, and take it out again."""
    if (place := place_of(mutant)) is None:
        return {"noticed": None, "by": "its line is gone"}
    file, number = place
    text = file.read_text()
    rows = text.splitlines(keepends=True)
    indent = rows[number][: len(rows[number]) - len(rows[number].lstrip())]
    rows[number] = indent + mutant["new"].strip() + "\n"
    compiled = str(file.relative_to(ROOT)).startswith("csrc")
    file.write_text("".join(rows))
    try:
        if compiled and subprocess.run(BUILD, shell=True, cwd=ROOT, capture_output=True).returncode:
            return {"noticed": None, "by": "it does not compile"}
        command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider -n {workers} {FOLDERS[mutant['folder']][1]}"
        tests = subprocess.Popen(
            command, shell=True, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (12 << 30, 12 << 30)),
        )  # fmt: skip
        try:
            said, _ = tests.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(tests.pid, signal.SIGKILL)  # with its workers
            tests.communicate()
            return {"noticed": True, "by": f"no end in {seconds:.0f} s"}
        if tests.returncode in (0, 5):
            return {"noticed": False, "by": ""}
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
        return {"noticed": True, "by": failed[0] if failed else said[-200:]}
    finally:
        file.write_text(text)
        if compiled:
            subprocess.run(BUILD, shell=True, cwd=ROOT, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/mutants.py", description=__doc__)
    parser.add_argument("folders", nargs="*", choices=[*FOLDERS, []], metavar="FOLDER", help=", ".join(FOLDERS))
    parser.add_argument("--choose", type=int, metavar="N", help="choose N mutants a folder anew and write mutants.json")
    parser.add_argument("--seed", type=int, default=0, help="of the choice; default: %(default)s")
    parser.add_argument(
        "--out", type=Path, help="a JSON file of what was noticed, by which test; resumed where it exists"
    )
    parser.add_argument("--seconds", type=float, default=900, help="for the tests of one mutant; default: %(default)s")
    parser.add_argument("--workers", type=int, default=0, help="of pytest; default: %(default)s")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a mutant is taken out again, as after Ctrl-C
    if options.choose:
        chosen = (json.dumps(mutant) for mutant in choose(options.choose, options.seed))
        LIST.write_text("[\n" + ",\n".join(chosen) + "\n]\n")
        return
    results = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    for mutant in json.loads(LIST.read_text()):
        name = f"{mutant['file']}:{mutant['line']}"
        if (options.folders and mutant["folder"] not in options.folders) or name in results:
            continue
        results[name] = run(mutant, options.seconds, options.workers)
        print(name, results[name], flush=True)
        if options.out:
            options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
