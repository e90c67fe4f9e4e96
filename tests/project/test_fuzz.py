"""The fuzzers' readers, with what was found before and some wrong contents each; `python tests/fuzz` searches on."""

import json

import pytest

from fuzz import once
from fuzz.mutations import changed_bytes, changed_json
from fuzz.readers import READERS, Reader

# Contents a reader; of the others, which are quick, 100. Pickles are read in a process each.
TRIED = dict.fromkeys(("config", "safetensors", "model", "model-weights", "torch", "torch-pickle", "cifar"), 20)


@pytest.mark.parametrize("name", READERS)
def test_wrong_contents_are_refused_by_an_error(name):
    right = READERS[name].seeds()
    assert all(once.read_once(name, content) for content in right)
    for number in range(TRIED.get(name, 100)):
        once.read_once(name, (READERS[name].mutate or changed_bytes)(right[number % len(right)], number))
    for content in once.contents_of(name)[len(right) :]:
        once.read_once(name, content)


WRONG = KeyError("a"), ValueError("two\nlines"), ValueError(""), ValueError("a" * 9999), OSError()


@pytest.mark.parametrize("error", WRONG)
def test_what_else_is_raised_is_told(monkeypatch, error):
    def read(content, folder):
        raise error

    monkeypatch.setitem(READERS, "npy", Reader(read, list))
    with pytest.raises(once.Finding):
        once.read_once("npy", b"")


def test_mutations_are_by_a_seed_and_keep_json():
    content = json.dumps({"a": [1, {"b": "c"}], "d": None}).encode()
    made = [changed_json(content, seed) for seed in range(200)]
    assert made == [changed_json(content, seed) for seed in range(200)] and len(set(made)) > 100
    whole = 0
    for text in made:
        try:
            json.loads(text)
            whole += 1
        except ValueError:
            pass
    assert whole > 180
