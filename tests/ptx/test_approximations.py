"""Approximate instructions err by as much as the PTX ISA lets them, and by no more."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from ptx.harness import kernels, result

pytest.importorskip("fastblackout._simt", reason="fastblackout._simt is not built")

EXACT = {"rcp": lambda x: 1 / x, "sqrt": mpmath.sqrt, "ex2": lambda x: mpmath.power(2, x)}
INF, NAN = np.inf, np.nan
SPECIAL = {  # of an input, in the order of these: 0, -0, inf, -inf, NaN, 200, -200
    "rcp": (INF, -INF, 0.0, -0.0, NAN, None, None),
    "sqrt": (0.0, -0.0, INF, NAN, NAN, None, NAN),
    "ex2": (1.0, 1.0, INF, 0.0, NAN, INF, 0.0),
}
OPCODES = [f"{family}.approx{flush}.f32" for family in EXACT for flush in ("", ".ftz")]
PLACE = "mul.wide.u32 %rd3, %r0, 8; add.s64 %rd3, %rd0, %rd3; mov.u64 %rd4, 0; st.global.u64 [%rd2], %rd4;"
BODIES = tuple(
    f"{PLACE} ld.global.f32 %f1, [%rd3]; {opcode} %f2, %f1; st.global.f32 [%rd2], %f2;" for opcode in OPCODES
)
THREADS = 1000


def made_by(opcode: str, x: np.ndarray, err: int) -> np.ndarray:
    settings = kernels(*BODIES, before="").settings
    settings.approximations = err
    try:
        words = x.astype(np.float32).view(np.uint32).tolist()
        made = result(BODIES[OPCODES.index(opcode)], words, threads=len(words), among=BODIES)
        return np.array(made, np.uint32).view(np.float32)
    finally:
        settings.approximations = 0


@pytest.mark.parametrize("err", [0, 1, -1, 2], ids=["nearest", "up", "down", "anyhow"])
@pytest.mark.parametrize("opcode", OPCODES)
def test_approximations_err_as_far_as_they_may(opcode, err):
    """1 unit in the last place of an inverse, 2^-23 of a square root, 2 units of a power of 2."""
    family, random = opcode.split(".")[0], np.random.default_rng(1)
    x = 2.0 ** random.uniform(-100, 100, THREADS) if family != "ex2" else random.uniform(-120, 120, THREADS)
    x = (x * (random.choice([-1, 1], THREADS) if family == "rcp" else 1)).astype(np.float32)
    made, away = made_by(opcode, x, err), 0
    with mpmath.workprec(200):
        for given, got in zip(x.tolist(), made, strict=True):
            exact = EXACT[family](mpmath.mpf(given))
            unit = float(np.spacing(np.float32(abs(float(exact)))))
            most = abs(exact) / 2**23 if family == "sqrt" else unit * (2.5 if family == "ex2" else 1)
            off = mpmath.mpf(float(got)) - exact
            assert abs(off) <= most, (given, got)
            away += bool(abs(off) > most / 2 and (err == 2 or off * err > 0))
            if abs(err) == 1:  # a step further would be too far
                further = np.nextafter(got, np.float32(err * np.inf))
                assert abs(mpmath.mpf(float(further)) - exact) > most - unit / 2, (given, got)
    assert err == 0 or away > THREADS / 10


@pytest.mark.parametrize("opcode", OPCODES)
def test_special_values(opcode):
    family, flush = opcode.split(".")[0], ".ftz" in opcode
    small = np.float32(1e-40)  # subnormal
    made = made_by(opcode, np.array([0.0, -0.0, INF, -INF, NAN, 200, -200, small, -small]), 2)
    for got, want in zip(made[:7], SPECIAL[family], strict=True):
        assert want is None or got.tobytes() == np.float32(want).tobytes() or (np.isnan(got) and np.isnan(want)), want
    assert not flush or made[7:].tobytes() == made[:2].tobytes()
    assert made[4].view(np.uint32) == 0x7FFFFFFF
