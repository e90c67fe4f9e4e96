"""What is made for PyPI: wheels, tests and classifiers name the same Pythons, and the citation this version."""

import re
import tomllib

import yaml

import fastblackout as fb
from support import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")}


def test_one_list_of_pythons():
    project = PYPROJECT["project"]
    listed = [each.rpartition(" ")[2] for each in project["classifiers"] if re.search(r":: 3\.\d+$", each)]
    assert listed[0] == project["requires-python"].removeprefix(">=") and len(listed) > 3
    built = re.fullmatch(r"\{(.*)\}-manylinux_\*", PYPROJECT["tool"]["cibuildwheel"]["build"])[1]
    assert built.split(",") == [f"cp{python.replace('.', '')}" for python in listed]
    assert WORKFLOWS["test"]["jobs"]["test"]["strategy"]["matrix"]["python"] == listed


def test_a_release_publishes_what_the_wheels_are_built_by():
    build, publish = (WORKFLOWS["release"]["jobs"][name] for name in ("build", "publish"))
    assert build == {"uses": "./.github/workflows/wheels.yml"} and publish["needs"] == "build"
    assert "workflow_call" in WORKFLOWS["wheels"][True]  # YAML 1.1 reads the key `on` so
    assert publish["permissions"] == {"id-token": "write"}  # trusted publishing, and no more
    assert all(workflow["permissions"] == {"contents": "read"} for workflow in WORKFLOWS.values())


def test_files_that_workflows_name_are_there():
    named = re.findall(r"\{project\}/(\S+)", " ".join(PYPROJECT["tool"]["cibuildwheel"]["test-command"]))
    for trigger in WORKFLOWS["wheels"][True].values():
        named += [path.removesuffix("/**") for path in (trigger or {}).get("paths", [])]
    assert len(named) > 4 and [name for name in named if not (ROOT / name).exists()] == []


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = PYPROJECT["project"]
    assert citation["version"] == fb.__version__ and citation["license"] == project["license"]
    assert citation["repository-code"] == project["urls"]["Repository"]
    assert citation["references"][0]["url"] in (ROOT / "README.md").read_text()
