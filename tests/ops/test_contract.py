"""One contract of all ops: calls that Hypothesis makes of their declarations.

A valid call gives the bits of the reference on every CPU backend, in every library, for any memory order and number of
threads, with every argument broadcast in full, and in any parts of the batch. A call with one wrong argument is told so
by name, and nothing is written and no seed is drawn.

FASTBLACKOUT_CONTRACT=MINUTES searches for so long, with a seed that it prints; FASTBLACKOUT_CONTRACT_SEED takes that.
"""

import os
import secrets
import time
import traceback

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import fastblackout as fb
from support.contract.check import holds, refused
from support.contract.features import FEATURES
from support.contract.valid import OPS, valid
from support.contract.violations import violations
from support.helpers import ISAS

MINUTES = float(os.environ.get("FASTBLACKOUT_CONTRACT", 0))
SEED = int(os.environ.get("FASTBLACKOUT_CONTRACT_SEED") or secrets.randbits(32))
VALID, WRONG = 12, 20  # calls of each op
CALM = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}

def picker(data):
    """A choice is one of the two features, where they have it, or any."""
    forced = data.draw(st.sampled_from(FEATURES)) | data.draw(st.sampled_from(FEATURES))

    def pick(name, options):
        if name in forced and forced[name] in options:
            return forced[name]
        return data.draw(st.sampled_from(options))

    return pick


def valid_call(op, data):
    pick = picker(data)
    holds(valid(op, pick), pick)


def wrong_call(op, data):
    pick = picker(data)
    case = valid(op, pick)
    if pick("rng", ("given", "none")) == "none" and "rng" in case.arguments:
        case.arguments["rng"] = None
    found = violations(case)
    at = data.draw(st.integers(0, len(found) - 1))
    refused(case, found[at], ("reference", f"cpu-{pick('instructions', ISAS)}"), ("numpy", "torch"))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("call, examples", [(valid_call, VALID), (wrong_call, WRONG)], ids=["valid", "wrong"])
def test_contract(op, call, examples):
    @settings(max_examples=examples, derandomize=True, phases=[Phase.generate, Phase.shrink], **CALM)
    @given(st.data())
    def check(data):
        call(op, data)

    check()
