"""The examples of docstrings give what they say, after the line of docs/api with which they begin.

The examples of the ops are run by test_documentation.py.
"""

import doctest
import importlib.util
import re

import pytest

from support import ROOT
from support.source_tree import modules

ABSENT = [name for name in ("diffusers", "jax") if importlib.util.find_spec(name) is None]
FOLDERS = ("ops", "kernels", "call", "reference", *ABSENT)
WITH_EXAMPLES = [
    name for name, (path, _) in modules().items()
    if name.startswith("fastblackout.") and name.split(".")[1] not in FOLDERS and ">>> " in path.read_text()
]  # fmt: skip


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_give_what_they_say(name):
    module, known = importlib.import_module(name), {}
    for page in ("index", "jax") if name.startswith("fastblackout.jax") else ("index",):
        (line,) = re.findall(r"begin with ``(.*)``", (ROOT / f"docs/api/{page}.rst").read_text())
        exec(line, known)
    tried = 0
    for found in doctest.DocTestFinder().find(module, globs=known):
        result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(found)
        tried += result.attempted
        assert not result.failed, found.name
    assert tried
