"""Every instruction that computes, at the edges that matter, against the words of the PTX ISA (expected.py)."""

from __future__ import annotations

import functools
import itertools
import random
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from ptx.exact import FORMATS, bits, value, width
from ptx.expected import computed
from ptx.harness import HEADER, library, run
from ptx.instructions import TABLE

pytest.importorskip("fastblackout._simt", reason="fastblackout._simt is not built")

OTHERS = (
    "ld",
    "st",
    "atom",
    "red",
    "cvta",
    "cp",
    "membar",
    "fence",
    "bar",
    "shfl",
    "vote",
    "redux",
    "ldmatrix",
    "stmatrix",
    "bra",
    "call",
    "ret",
    "trap",
)  # test_threads.py, test_warps.py
OPCODES = [opcode for opcode in TABLE if opcode.split(".")[0] not in OTHERS]
RNG = random.Random(0)
THREADS = 256
MOST = 1000  # cases of an instruction


def edges(kind: str) -> list[int]:
    """Bits of values of a type."""
    n = width(kind)
    every = (1 << n) - 1
    if kind == "pred":
        return [0, 1]
    if kind not in FORMATS:
        near = [
            0,
            1,
            2,
            3,
            7,
            31,
            32,
            33,
            63,
            64,
            255,
            256,
            every,
            every - 1,
            every >> 1,
            (every >> 1) + 1,
            (every >> 1) + 2,
        ]
        return sorted({x & every for x in [*near, 1 << (n // 2), 0x9E3779B97F4A7C15, RNG.getrandbits(n)]})
    digits, _, most = FORMATS[kind]
    infinite = ((1 << (n - digits)) - 1) << (digits - 1)
    one = most << (digits - 1)
    normal = 1 << (digits - 1)
    found = [0, 1, 2, normal - 1, normal, normal + 1, one, one + 1, one - 1, one + normal // 2, infinite - 1, infinite]
    found += [infinite + 1, infinite + normal // 2 + 5]  # a signalling NaN, and a quiet one
    # halves and ends of the integers' ranges
    numbers = [Fraction(1, 2), Fraction(5, 2), Fraction(7, 2), Fraction(1, 3), 255, 256, 65520, 1 << 24]
    ends = (
        [Fraction((1 << k) + d) for k in (7, 15, 31, 32, 63, 64) for d in (-1, Fraction(-1, 2), 0, 1)] if n > 16 else []
    )
    if kind == "f32":  # halves of .bf16, the last on the way to an infinity
        found += [one + 0x8000, one + 0x8001, one + 0x18000, infinite - 0x8000, infinite - 0x8001]
    made = [bits(kind, value("f64", bits_of_fraction(Fraction(x)))) for x in [*numbers, *ends]]
    found += [x for x in made if x < infinite] + [RNG.randrange(infinite) for _ in range(2)]
    return [x | sign << (n - 1) for x in dict.fromkeys(found) for sign in (0, 1)]


def bits_of_fraction(x: Fraction) -> int:
    return int(np.float64(float(x)).view(np.uint64))


def kind_of(code: str, opcode: str) -> str:
    """The type of an operand, as the table's head says."""
    parts = opcode.split(".")
    last = parts[-1]
    if code in ("p", "q", "pred"):
        return "pred"
    if code == "W":
        return f"{last[0]}{width(last) * 2}"
    return {"T": last, "B": last, "D": parts[-2]}.get(code, code)


def register(kind: str) -> str:
    return "pred" if kind == "pred" else f"b{max(width(kind), 16)}"


def kernel(number: int, opcode: str) -> str:
    """Reads each source as 8 bytes of an array, and writes the destination, of setp two bits."""
    made, *sources = TABLE[opcode].types
    kinds = [kind_of(code, opcode) for code in sources]
    given = [f".param .u64 p{i}" for i in range(len(kinds) + 1)]
    text = [
        f".visible .entry k{number}({', '.join(given)})",
        "{",
        ".reg .b64 %rd<9>; .reg .b32 %r<9>; .reg .b16 %rs<9>; .reg .pred %p<9>;",
    ]
    text.append(
        "mov.u32 %r8, %ctaid.x; mov.u32 %r7, %ntid.x; mul.lo.s32 %r8, %r8, %r7; mov.u32 %r7, %tid.x;"
        "add.s32 %r8, %r8, %r7;"
    )
    text.append("mul.wide.u32 %rd8, %r8, 8;")
    names = []
    for i, kind in enumerate(kinds):
        text.append(f"ld.param.u64 %rd7, [p{i}]; add.s64 %rd7, %rd7, %rd8;")
        prefix = {"pred": "%p", "b16": "%rs", "b32": "%r", "b64": "%rd"}[register(kind)]
        names.append(f"{prefix}{i}")
        if kind == "pred":
            text.append(f"ld.global.u32 %r6, [%rd7]; and.b32 %r6, %r6, 1; setp.ne.s32 %p{i}, %r6, 0;")
        else:
            text.append(f"ld.global.{register(kind)} {names[-1]}, [%rd7];")
    text.append(f"ld.param.u64 %rd7, [p{len(kinds)}]; add.s64 %rd7, %rd7, %rd8;")
    if made == "p|q" or kind_of(made, opcode) == "pred":
        target = "%p7|%p8" if made == "p|q" else "%p7"
        text.append(f"{opcode} {target}, {', '.join(names)}; selp.b32 %r5, 1, 0, %p7;")
        if made == "p|q":
            text.append("selp.b32 %r4, 2, 0, %p8; or.b32 %r5, %r5, %r4;")
        text.append("st.global.u32 [%rd7], %r5;")
    else:
        kind = register(kind_of(made, opcode))
        name = {"b16": "%rs7", "b32": "%r5", "b64": "%rd6"}[kind]
        text.append(f"{opcode} {name}, {', '.join(names)}; st.global.{kind} [%rd7], {name};")
    return "\n".join([*text, "ret;", "}"])


@functools.cache
def kernels():
    return library(HEADER + "\n".join(kernel(number, opcode) for number, opcode in enumerate(OPCODES)))


def cases(opcode: str) -> list[tuple[int, ...]]:
    """Pairs of edges, of which the first are all special ones; of three and four sources with another each."""
    kinds = [kind_of(code, opcode) for code in TABLE[opcode].types[1:]]
    if opcode.startswith(("prmt", "lop3", "bfi", "bfe")):
        return [tuple(RNG.choice([RNG.getrandbits(width(k)), *edges(k)]) for k in kinds) for _ in range(MOST)]
    if opcode.endswith("x2"):
        halves = edges(kind_of("T", opcode).removesuffix("x2"))
        return [tuple(RNG.choice(halves) | RNG.choice(halves) << 16 for _ in kinds) for _ in range(MOST)]
    sets = [edges(kind) for kind in kinds]
    found = list(itertools.product(*sets[:2]))
    if len(found) > MOST:
        found = [*itertools.product(*(s[:28] for s in sets[:2])), *RNG.sample(found, MOST - 28 * 28)]
    return [(*each, *(RNG.choice(s) for s in sets[2:])) for each in found]


def made_by(opcode: str, given: list[tuple[int, ...]]) -> list[int]:
    count = -(-len(given) // THREADS) * THREADS
    arrays = [np.zeros(count, np.uint64) for _ in range(len(given[0]) + 1)]
    for i in range(len(given[0])):
        arrays[i][: len(given)] = [x[i] for x in given]
    run(kernels(), f"k{OPCODES.index(opcode)}", *arrays, blocks=count // THREADS, threads=THREADS)
    return arrays[-1][: len(given)].tolist()


def families() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for opcode in OPCODES:
        found.setdefault(opcode.split(".")[0], []).append(opcode)
    return found


@pytest.mark.parametrize("family", families())
def test_results_are_those_of_the_isa(family):
    for opcode in families()[family]:
        if ".approx" in opcode:
            continue
        given = cases(opcode)
        made, open_results = made_by(opcode, given), 0
        for patterns, got in zip(given, made, strict=True):
            want = computed(opcode, list(patterns))
            open_results += want is None
            assert want is None or widened(opcode, want) == got, (
                opcode,
                [hex(x) for x in patterns],
                hex(got),
                hex(want),
            )
        assert open_results < len(given) / 2, opcode


def widened(opcode: str, want: int) -> int:
    """A conversion to 8 bits fills a register of 16, by its sign if it has one."""
    kind = opcode.split(".")[-2] if opcode.startswith("cvt") else ""
    return value("s8", want) % (1 << 16) if kind == "s8" else want


@pytest.mark.parametrize("err", [0, 1, -1, 2], ids=["nearest", "up", "down", "anyhow"])
@pytest.mark.parametrize("opcode", [opcode for opcode in OPCODES if ".approx" in opcode])
def test_approximations_err_as_far_as_they_may(opcode, err):
    given = [(x,) for x in edges("f32")] + [(RNG.getrandbits(32),) for _ in range(1500)]
    given += [(bits("f32", value("f64", bits_of_fraction(Fraction(RNG.uniform(-130, 130))))),) for _ in range(500)]
    kernels().settings.approximations = err
    try:
        made = made_by(opcode, given)
    finally:
        kernels().settings.approximations = 0
    away = 0
    for (pattern,), got in zip(given, made, strict=True):
        want = exp2(opcode, pattern) if opcode.startswith("ex2") else computed(opcode, [pattern])
        if isinstance(want, int):
            assert got == want, (hex(pattern), hex(got), hex(want))
            continue
        low, high = want
        x = value("f32", got).exact if not value("f32", got).nan and value("f32", got).size is not None else None
        if x is None or x == 0 or abs(x) < Fraction(2) ** -125:  # at the ends of the range: infinite, or flushed
            continue
        assert low <= x <= high, (hex(pattern), hex(got), float(low), float(high))
        away += (x - low) / (high - low) > Fraction(1, 2) if err > 0 else (high - x) / (high - low) > Fraction(1, 2)
        if abs(err) == 1:  # a step further is too far
            step = abs(value("f32", got + 1).exact - x) if (got + 1) & 0x7F800000 != 0x7F800000 else 0
            assert not step or not low <= x + err * step <= high, (hex(pattern), hex(got))
    assert err == 0 or away > 100


def exp2(opcode: str, pattern: int):
    """Two units in the last place from the correctly rounded result; exact at infinities and zeros."""
    if "ftz" in opcode and pattern & 0x7F800000 == 0:
        return 0x3F800000
    a = value("f32", pattern)
    if a.nan or a.size is None:
        return 0x7FFFFFFF if a.nan else 0 if a.sign else 0x7F800000
    if a.size == 0:
        return 0x3F800000
    if a.exact >= 128:
        return 0x7F800000
    if a.exact < -160:
        return 0
    with mpmath.workprec(200):
        whole = mpmath.ldexp(mpmath.power(2, mpmath.mpf(a.exact.numerator) / a.exact.denominator), 400)
        exact = Fraction(int(mpmath.floor(whole)), 1 << 400)
    rounded = value("f32", bits("f32", a._replace(sign=0, size=exact)))
    if rounded.size is None or rounded.size < Fraction(2) ** -126:
        return (Fraction(0), Fraction(2) ** -125) if "ftz" not in opcode else (Fraction(0), Fraction(2) ** -125)
    unit = Fraction(2) ** ((bits("f32", rounded) >> 23) - 150)
    return rounded.exact - 2 * unit, rounded.exact + 2 * unit
