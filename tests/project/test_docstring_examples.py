"""The examples of docstrings give what they say. The examples of the ops are run by test_documentation.py."""

import doctest
import importlib.util

import numpy as np
import pytest

import fastblackout as fb
from support.source_tree import modules

ABSENT = () if importlib.util.find_spec("diffusers") else ("diffusers",)
FOLDERS = ("ops", "distributions", "jax", "kernels", "call", "reference", *ABSENT)
WITH_EXAMPLES = [
    name for name, (path, _) in modules().items()
    if name.startswith("fastblackout.") and name.split(".")[1] not in FOLDERS and ">>> " in path.read_text()
]  # fmt: skip


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_give_what_they_say(name):
    module = importlib.import_module(name)
    tried = 0
    for found in doctest.DocTestFinder().find(module, extraglobs={"fb": fb, "np": np}):
        result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(found)
        tried += result.attempted
        assert not result.failed, found.name
    assert tried
