"""The calls that triton_aot_worker.py compiles: every kernel, with every dtype of every argument.

Import it when Triton's driver is set.
"""

import os

import torch

import fastblackout as fb
from fastblackout.backends import triton as backend
from fastblackout.call.declared import DECLARED
from support.draws import DRAWS
from support.draws import dtypes as dtypes_of
from support.today import DAY, of_today


def doubles(rows):
    return torch.zeros(rows, dtype=torch.float64)


FLAG = torch.zeros(1, dtype=torch.int32)
U8, I16, I32, I64 = torch.uint8, torch.int16, torch.int32, torch.int64
F32, BF16, F16, F64 = torch.float32, torch.bfloat16, torch.float16, torch.float64


KEY = fb.Philox(0).tensor()


def thin(counts=U8, inputs=F32, most=255, shape=(4, 3072), strided=False, key=KEY, asked=(True, True, True)):
    x, made = torch.zeros(shape, dtype=counts), torch.zeros(shape, dtype=inputs)
    if strided:
        x = torch.zeros(shape[1], shape[0], dtype=counts).t()
    one = torch.zeros(shape[0])
    outputs = [t if wanted else None for t, wanted in zip((x.clone(), x.clone(), made), asked, strict=True)]
    backend.thin(x, doubles(shape[0]), doubles(shape[0]), key, most, one, one, *outputs, FLAG)


def bridge(
    counts=U8, logits=F32, inputs=F32, most=255, given=None, stochastic=True, fall=False, shape=(4, 3072), key=KEY
):
    x, y, one = torch.zeros(shape, dtype=counts), torch.zeros(shape, dtype=given or logits), torch.zeros(shape[0])
    p = doubles(shape[0])
    network, falling, made = (None, y) if given else (y, None), p if fall else None, torch.zeros(shape, dtype=inputs)
    backend.bridge_step(x, *network, p, p, falling, falling, key, most, one, stochastic, one, one, x, made, FLAG)


def tau_leap(counts=U8, logits=F32, inputs=F32, most=255, given=None, shape=(4, 3072), key=KEY):
    x, y, one = torch.zeros(shape, dtype=counts), torch.zeros(shape, dtype=given or logits), torch.zeros(shape[0])
    over = torch.zeros(shape[0], dtype=I64)
    network, made = (None, y) if given else (y, None), torch.zeros(shape, dtype=inputs)
    backend.tau_leap_step(x, *network, doubles(shape[0]), key, most, one, one, one, x, made, over, FLAG)


def loss(logits=F32, births=U8, shape=(4, 3072)):
    x, k, one = torch.zeros(shape, dtype=logits), torch.zeros(shape, dtype=births), torch.zeros(shape[0])
    backend.birth_loss(x, k, doubles(shape[0]), one, one, FLAG)


def grad(logits=F32, births=U8, shape=(4, 3072)):
    x, k, one = torch.zeros(shape, dtype=logits), torch.zeros(shape, dtype=births), torch.zeros(shape[0])
    backend.birth_loss_backward(x, k, doubles(shape[0]), one, x.clone(), FLAG)


def energy(counts=U8, logits=F32, births=None, draws=2, most=255, shape=(4, 3072)):
    x, n, one = torch.zeros(shape, dtype=counts), torch.zeros(shape, dtype=births or counts), torch.zeros(shape[0])
    y, norms = torch.zeros(draws, *shape, dtype=logits), doubles(shape[0] * draws * (draws + 1) // 2).view(shape[0], -1)
    backend.energy_loss(x, y, n, doubles(shape[0]), one, most, one, norms, FLAG)
    backend.energy_loss_backward(x, y, n, doubles(shape[0]), one, most, norms, y.clone(), FLAG)


def _head(components, shape, dtype, other):
    """(number of the law, the eight arrays of a head). components: of how many "bayes-logistic" is, 0 of
    "beta-binomial", -1 of "negative-binomial"."""
    family = int(components > 0) if components >= 0 else 1 - components
    count = max(3 * components - 1, 2)
    given = [torch.zeros(shape, dtype=(dtype, other or dtype)[at % 2]) for at in range(count)]
    return family, given + [None] * (8 - count)


def posterior(counts=U8, head=F32, other=None, births=None, most=255, shape=(4, 3072), components=0):
    x, n, one = torch.zeros(shape, dtype=counts), torch.zeros(shape, dtype=births or counts), torch.zeros(shape[0])
    family, arrays = _head(components, shape, head, other)
    given = (x, family, *arrays, n, doubles(shape[0]), one, most)
    backend.posterior_loss(*given, one, FLAG)
    backend.posterior_loss_backward(*given, *(None if each is None else each.clone() for each in arrays), FLAG)


def law_step(counts=U8, head=F32, other=None, inputs=F32, most=255, shape=(4, 3072), key=KEY, components=0):
    x, one, p = torch.zeros(shape, dtype=counts), torch.zeros(shape[0]), doubles(shape[0])
    family, arrays = _head(components, shape, head, other)
    given = (x, family, *arrays, p, p, one, key, most)
    backend.posterior_step(*given, one, one, x, torch.zeros(shape, dtype=inputs), FLAG)


def draw(op, *dtypes, shape=(4, 3072), key=KEY, pair=False):
    """An element-wise draw. dtypes: of its arguments; those that are left out are uint8 first, then int32, else
    float32."""
    left = [(I32 if at else U8) if "int32" in each else F32 for at, each in enumerate(dtypes_of(op).values())]
    given = [torch.zeros(shape, dtype=each) for each in (*dtypes, *left[len(dtypes) :])]
    made = torch.zeros(shape, dtype=getattr(torch, DECLARED[op].outputs.dtype or "", given[0].dtype))
    rest = [given[-1] if pair else None] if op == "binomial" else []
    getattr(backend, op)(*given, *rest, key, made, FLAG)


def categorical(counts=U8, probs=F64, states=256, index=None, shape=(4, 3072), key=KEY):
    x, p = torch.zeros(shape, dtype=counts), torch.zeros(1, states, states, dtype=probs)
    backend.categorical(x, p, index, key, x, FLAG)


def table(counts=U8, states=256, index=None, shape=(4, 3072), key=KEY, build=True):
    guide = torch.zeros(1, states, 256, dtype=torch.uint16)
    thresholds = torch.zeros(1, states, states, dtype=I64)
    if build:
        backend.build_categorical_table(doubles(states * states).view(1, states, states), thresholds, guide, FLAG)
    x = torch.zeros(shape, dtype=counts)
    backend.categorical_table(x, thresholds, guide, index, key, x, FLAG)


def states_bridge(counts=U8, weights=None, logits=True, states=16, index=None, shape=(4, 3072), key=KEY, known=None):
    x, p = torch.zeros(shape, dtype=counts), doubles(states * states).view(1, states, states)
    given = None if weights is None else torch.zeros(*shape, states, dtype=weights)
    x_0 = torch.zeros(shape, dtype=known or counts) if weights is None else None
    backend.categorical_bridge(x, x_0, given, logits, p, p, index, key, x.clone(), FLAG)


def transition(counts=U8, bridged=False, each=False, shape=(4, 3072), states=256):
    x, p = torch.zeros(shape, dtype=counts), doubles(shape[0])
    backend.transition_rows(p, p, states, torch.zeros(shape[0], states, states, dtype=F64), FLAG)
    q = doubles(x.numel()).view(shape) if each else p
    out = torch.zeros(shape, dtype=F64)
    if bridged:
        backend.bridge_log_prob(x, x, x, q, q, out, FLAG)
    else:
        backend.thin_log_prob(x, x, q, q, out, FLAG)


COUNTS, FLOATS = (U8, I16, I32, I64), (F32, BF16, F16, F64)


def index():
    return torch.zeros(4, dtype=I64)


# The cases whose instructions the worker counts: to disassemble a kernel takes half a second.
COUNTED = ("thin", "bridge bfloat16", "birth_loss", "birth_loss_grad")
# .ci/nightly compiles all; else every kernel is compiled, and those that are quick to compile, of the draws
# six, with a quarter of the dtypes, another one each day.
ALL = os.environ.get("AOT_CASES") == "all"
QUARTERS = range(4) if ALL else [DAY % 4]
CASES = {
    "thin": lambda: thin(),
    "bridge bfloat16": lambda: bridge(logits=BF16, inputs=BF16),
    "tau_leap": lambda: tau_leap(),
    "thin wide": lambda: thin(I32, most=1000, asked=(True, False, True)),
    "birth_loss": lambda: loss(),
    "birth_loss chunks": lambda: loss(shape=(4, 30720)),
    "birth_loss_grad": lambda: grad(),
    "energy_loss": lambda: energy(),
    "posterior_loss": lambda: posterior(),
    "posterior_step": lambda: law_step(),
    "bayes": lambda: posterior(components=1),
    "bayes step": lambda: law_step(components=1),
    "negative binomial law": lambda: posterior(components=-1),
    "negative binomial step": lambda: law_step(components=-1),
    **{op: lambda op=op: draw(op) for op in DRAWS},
    "categorical": lambda: categorical(),
    "categorical table": lambda: table(),
    "categorical bridge logits": lambda: states_bridge(weights=F32),
    "transition": lambda: transition(),
    "thin strided": lambda: thin(strided=True, shape=(4, 31)),
    "thin odd": lambda: thin(shape=(4, 31), asked=(True, False, False)),
    "bridge": lambda: bridge(fall=True),
    "bridge bfloat16 to float32": lambda: bridge(logits=BF16),
    "bridge nearest": lambda: bridge(stochastic=False),
    "bridge wide": lambda: bridge(I32, most=1000, fall=True),
    "binomial pair": lambda: draw("binomial", U8, F64, pair=True),
    "categorical float32": lambda: categorical(I64, F32, index=index()),
    "categorical table int16": lambda: table(I16, index=index(), build=False),
    "categorical table int32": lambda: table(I32, build=False),
    "categorical table int64": lambda: table(I64, build=False),
    "categorical bridge probs": lambda: states_bridge(I16, F64, logits=False),
    "categorical bridge float32 probs": lambda: states_bridge(I64, F32, logits=False, index=index()),
    "transition bridged": lambda: transition(I32, bridged=True, each=True),
}


def _case(name, call, *arguments, **options):
    dtypes = (str(value).removeprefix("torch.") for value in (*arguments, *options.values()) if value in _DTYPES)
    CASES[" ".join((name, *dtypes))] = lambda: call(*arguments, **options)


def _kinds(op, number):
    """Of an element-wise draw: dtypes of its arguments, of which the four numbers have every one. At night counts are
    floats, too."""
    kinds = dtypes_of(op).values()
    yield tuple((COUNTS if "int32" in each else FLOATS)[(number + at) % 4] for at, each in enumerate(kinds))
    if ALL and number < 2:
        floats = (F32, F64)[number], (F64, F32)[number]
        yield tuple(floats[at % 2] if "int32" in each else FLOATS[at] for at, each in enumerate(kinds))


_DTYPES = {*COUNTS, *FLOATS}
# At night each dtype of each argument at least once, of several arguments at a time; test_triton_aot.py says which must
# occur.
if ALL:
    CASES |= {"posterior_step wide": lambda: law_step(I32, most=1000)}
    for _count in (2, 3):
        CASES[f"bayes {_count}"] = lambda count=_count: posterior(components=count)
        CASES[f"bayes step {_count}"] = lambda count=_count: law_step(components=count)
for _number in QUARTERS:
    _counts, _floats, _other = COUNTS[_number], FLOATS[_number], FLOATS[(_number + 1) % 4]
    _case("categorical", categorical, _counts)
    _case("categorical bridge x_0", states_bridge, _counts, known=COUNTS[_number - 1])
    _case("categorical bridge", states_bridge, _counts, weights=_floats)
    _case("transition", transition, _counts)
    _case("transition bridged", transition, _counts, bridged=True)
    _case("thin", thin, _counts, _floats)
    for _op in DRAWS if ALL else of_today(tuple(DRAWS), 6):
        for _dtypes in _kinds(_op, _number):
            _case(_op, draw, _op, *_dtypes)
    if ALL:
        _case("posterior_step", law_step, _counts, _floats, _other, FLOATS[_number - 1])
        _case("bayes step", law_step, _counts, _floats, _other, FLOATS[_number - 1], components=1)
        _case("negative binomial step", law_step, _counts, _floats, _other, FLOATS[_number - 1], components=-1)
    _case("bridge", bridge, _counts, _floats, _other)
    _case("tau_leap", tau_leap, _counts, _floats, _other)
    if _counts != U8:
        _case("thin wide", thin, _counts, _other, most=1000)
        _case("bridge wide", bridge, _counts, _other, _floats, most=1000)
    for _births in (_counts, _floats):
        _case("bridge given", bridge, _counts, inputs=_floats, given=_births)
        _case("tau_leap given", tau_leap, _counts, inputs=_floats, given=_births)
        _case("birth_loss", loss, _other, _births)
        _case("birth_loss_grad", grad, _other, _births)
        _case("energy_loss", energy, _counts, _other, _births)
        if ALL:
            _case("posterior_loss", posterior, _counts, _other, _floats, _births)
            _case("bayes", posterior, _counts, _other, _floats, _births, components=1)
            _case("negative binomial law", posterior, _counts, _other, _floats, _births, components=-1)
