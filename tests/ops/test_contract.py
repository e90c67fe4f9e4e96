"""One contract of all ops: calls that Hypothesis makes of their declarations.

A valid call gives the bits of the reference on every CPU backend, in every library, for any memory order and number of
threads, with every argument broadcast in full, and in any parts of the batch. A call with one wrong argument is told so
by name, nothing is written, and no seed is drawn.

FASTBLACKOUT_CONTRACT=MINUTES searches for so long, with a seed that it prints; FASTBLACKOUT_CONTRACT_SEED takes that.
What a search finds is kept in KEPT.
"""

import os
import re
import secrets
import time

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

import fastblackout as fb
from fastblackout.call.declared import DECLARED
from support.contract import check
from support.contract.calls import FEATURES, OPS, simplest, valid
from support.contract.check import called, holds, refused, with_feature
from support.contract.violations import violations
from support.draws import DRAWS, dtypes
from support.helpers import ISAS
from support.odd_values import FAKE, NO_NUMBERS, ODD, WRONG
from support.right_calls import calls

MINUTES = float(os.environ.get("FASTBLACKOUT_CONTRACT", "0"))
EXAMPLES = {"valid": 16, "wrong": 5}  # of each op
AT_ONCE = 200  # of a search, with one seed
QUIET = {"deadline": None, "database": None, "suppress_health_check": list(hypothesis.HealthCheck)}

# Calls that once failed, by what differs in them from the simplest one.
KEPT = [
    ("wrong", "birth_loss", {"batch": 0, "as": "each"}),  # wrong numbers beside an empty batch were not noticed
    ("wrong", "birth_loss", {"size": 0, "as": "features"}),
    ("wrong", "bridge_step", {"batch": 0, "as": "features"}),
    ("valid", "categorical", {"matrices": "index", "another": "DLPack"}),  # the index was refused
    ("wrong", "poisson", {}),  # backends did not say the same of a rate, nor of births
    ("wrong", "energy_loss", {}),
]


def chooser(data):
    """A choice is one of two features, where they have it, or any. What is chosen is noted by its name."""
    forced = data.draw(st.sampled_from(FEATURES)) | data.draw(st.sampled_from(FEATURES))

    def pick(name, options):
        if name in forced and forced[name] in options:
            return forced[name]
        chosen = data.draw(st.sampled_from(options))
        if chosen is not options[0]:
            hypothesis.note(f"{name}: {chosen!r}")
        return chosen

    return pick


def keep(kind, op, pick, number=None):
    """The contract of one call. number: of the violation, or any of them."""
    case = valid(op, pick)
    if kind == "valid":
        holds(case, pick)
        return
    if pick("rng", ("given", "none")) == "none" and "rng" in case.arguments:
        case.arguments["rng"] = None
    backends = "reference", f"cpu-{pick('instructions', ISAS)}"
    libraries = "numpy", pick("tensors", ("torch", "torch with gradients"))
    found = violations(case)
    for violation in found if number is None else [found[number(len(found) - 1)]]:
        refused(case, violation, backends, libraries)


def search(kind, op, examples, **how):
    @hypothesis.settings(
        max_examples=examples, phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink], **how, **QUIET
    )
    @hypothesis.given(st.data())
    def kept(data):
        keep(kind, op, chooser(data), lambda last: data.draw(st.integers(0, last)))

    return kept


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("kind", EXAMPLES)
def test_contract(op, kind):
    search(kind, op, EXAMPLES[kind], derandomize=True)()


@pytest.mark.parametrize("kind, op, feature", KEPT)
def test_what_once_failed(kind, op, feature):
    keep(kind, op, with_feature(feature))


@pytest.mark.skipif(not MINUTES, reason="FASTBLACKOUT_CONTRACT=MINUTES searches for so long")
@pytest.mark.timeout(MINUTES * 60 + 600)
def test_search(capsys):
    """All ops in turns, each time with another seed, until the time is over. It ends with all that it found."""
    first = int(os.environ.get("FASTBLACKOUT_CONTRACT_SEED") or secrets.randbits(32))
    started, done, found = time.monotonic(), 0, []
    while time.monotonic() - started < 60 * MINUTES:
        kind, op, told = list(EXAMPLES)[done % 2], OPS[done // 2 % len(OPS)], len(found)
        try:
            hypothesis.seed(first + done)(search(kind, op, AT_ONCE))()
        except Exception as error:
            notes = "\n".join(getattr(error, "__notes__", []))
            found.append(f"{kind} {op}, seed {first + done}: {type(error).__name__}: {error}\n{notes}"[:3000])
        done += 1
        if done % 50 == 1 or len(found) > told:
            with capsys.disabled():
                print(f"\nseed {first}: {done * AT_ONCE} examples", *found[told:], sep="\n", flush=True)
    assert not found, "\n\n".join(found)


def test_an_int_is_the_seed_of_a_key():
    keyed = [case for case in (valid(op, simplest) for op in OPS) if "rng" in case.arguments]
    assert len(keyed) > 15
    for case in keyed:
        for given in (case.arguments, check.as_torch(case, case.arguments, simplest)):
            made, wanted = (called(case, given | {"rng": key}, "reference") for key in (np.int64(9), fb.Philox(9)))
            check.same(made, wanted, case.op)


@pytest.mark.parametrize("op", DRAWS)
def test_draws_of_numbers_and_of_arrays_in_any_order(op):
    """A number alone has no dimensions; what is drawn lies in C order."""
    first, *_ = DRAWS[op].right(3, 0.5)
    alone, kinds = getattr(fb, op)(**DRAWS[op].right(3, 0.5), rng=fb.Philox(1)), dtypes(op)
    assert alone.shape == () and alone.dtype in (np.int64, np.float64)
    counts = "int16" in kinds["p" if first == "prob" else first]
    right = DRAWS[op].right(np.int16(3), 0.5)
    right = right if counts else {name: np.float32(number) for name, number in right.items()}
    narrow = getattr(fb, op)(**right, rng=fb.Philox(1))
    assert narrow.dtype == (np.int64 if DECLARED[op].outputs.dtype else np.int16 if counts else np.float32)
    x, reals = np.arange(6).reshape(2, 3) % 4, np.linspace(-1, 1, 6).reshape(2, 3)
    drawn = getattr(fb, op)(**DRAWS[op].right(np.asfortranarray(x), np.asfortranarray(reals)), rng=fb.Philox(1))
    assert drawn.flags.c_contiguous and (drawn == getattr(fb, op)(**DRAWS[op].right(x, reals), rng=fb.Philox(1))).all()


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("name", calls(np.asarray))
def test_values_of_every_odd_kind(name, library):
    """Given to every argument: a named error or a right call, and no other end."""
    call, arguments = calls(library)[name]
    deciding = next((each for each, value in arguments.items() if isinstance(value, (np.ndarray, torch.Tensor))), None)
    found = []
    for argument in arguments:
        unseen = argument == "x" and name.endswith("_log_prob")
        for must_fail, values in ((True, WRONG), (not unseen, NO_NUMBERS), (False, ODD)):
            for value in values:
                # A FakeTensor that decides the path is torch's to handle, and so is a device that is not there.
                if (value is FAKE and argument == deciding) or (argument == "device" and not must_fail):
                    continue
                given = arguments | {argument: value} | ({"rng": None} if argument == "generator" else {})
                if (wrong := end_of(call, given, name.split(" ")[0], must_fail)) is not None:
                    found.append((argument, type(value).__name__, wrong))
    assert not found, found


def end_of(call, arguments, owner, must_fail):
    """What is wrong with how the call ends."""
    try:
        call(**arguments)
    except (TypeError, ValueError) as error:
        text = str(error)
        named = re.match(rf"{re.escape(owner)}(\.\w+)?: [^:]+: .+, got ", text) and "\n" not in text and len(text) < 500
        return None if named else f"an error without names: {text!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error" if must_fail else None
