"""What instructions compute, in Python's whole numbers and fractions: written from the words of the PTX ISA, for the
tests."""

from __future__ import annotations

import math
from fractions import Fraction

from .exact import (
    FORMATS,
    Float,
    added,
    bits,
    compared,
    flushed,
    least,
    negative,
    over,
    root,
    rounded,
    times,
    to_integer,
    value,
    width,
)


def _float_op(family: str, kind: str, mode: str, x) -> Float:
    return {
        "add": lambda: added(x[0], x[1], mode),
        "sub": lambda: added(x[0], negative(x[1]), mode),
        "mul": lambda: times(x[0], x[1]),
        "fma": lambda: added(times(x[0], x[1]), x[2], mode),
        "div": lambda: over(x[0], x[1]),
        "rcp": lambda: over(Float(0, Fraction(1)), x[0]),
        "sqrt": lambda: root(x[0]),
        "min": lambda: least(x[0], x[1]),
        "max": lambda: negative(least(negative(x[0]), negative(x[1]))),
    }[family]()


def _int_op(family: str, parts: list[str], n: int, x) -> int | None:
    """n: bits of the type."""
    if family in ("div", "rem"):
        if x[1] == 0:
            return None
        size = abs(x[0]) // abs(x[1])
        quotient = -size if (x[0] < 0) != (x[1] < 0) else size
        return quotient if family == "div" else x[0] - quotient * x[1]
    if family in ("mul", "mad"):
        return (x[0] * x[1] >> (n if "hi" in parts else 0)) + (x[2] if family == "mad" else 0)
    return {
        "add": lambda: x[0] + x[1],
        "sub": lambda: x[0] - x[1],
        "abs": lambda: abs(x[0]),
        "neg": lambda: -x[0],
        "min": lambda: min(x[:2]),
        "max": lambda: max(x[:2]),
    }[family]()


def _bit_op(family: str, parts: list[str], n: int, x) -> int:
    """On the bits of the sources, of signed types with their sign."""
    a, b, c, d = [*x, 0, 0, 0, 0][:4]
    every, signed = (1 << n) - 1, parts[-1][0] == "s"
    if family in ("shl", "shr"):
        b = min(b, n)  # amounts greater than the width are clamped to it
        return a << b if family == "shl" else a >> b
    if family == "bfe":  # of the ISA's program
        pos, length, msb = b & 255, c & 255, n - 1
        sign = signed and length != 0 and a >> min(pos + length - 1, msb) & 1
        return sum((a >> (pos + i) & 1 if i < length and pos + i <= msb else sign) << i for i in range(n))
    if family == "bfi":
        pos, length = c & 255, d & 255
        for i in range(min(length, max(n - pos, 0))):
            b = b & ~(1 << (pos + i)) | (a >> i & 1) << (pos + i)
        return b
    if family == "bfind":
        a = ~a if a < 0 else a
        found = a.bit_length() - 1
        return found if found < 0 or "shiftamt" not in parts else n - 1 - found
    if family == "prmt":
        source = b << 32 | a
        chosen = [(source >> 8 * (c >> 4 * k & 7) & 255, c >> 4 * k & 8) for k in range(4)]
        return sum((255 * (byte >> 7) if sign else byte) << 8 * k for k, (byte, sign) in enumerate(chosen))
    if family == "shf":
        amount = c & 31 if "wrap" in parts else min(c, 32)
        both = b << 32 | a
        return both << amount >> 32 if "l" in parts else both >> amount
    if family == "lop3":
        return sum((d >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1) & 1) << i for i in range(n))
    return {
        "and": a & b, "or": a | b, "xor": a ^ b, "not": ~a, "popc": a.bit_count(), "clz": n - a.bit_length(),
        "brev": int(f"{a & every:0{n}b}"[::-1], 2),
    }[family]  # fmt: skip


def _converted(parts: list[str], mode: str, pattern: int) -> int:
    made, source = parts[-2:]
    if "ftz" in parts:
        pattern = flushed(source, pattern)
    number = value(source, pattern)
    if made not in FORMATS:
        return to_integer(made, source, number, mode) if source in FORMATS else number
    if source not in FORMATS:
        number = Float(int(number < 0), Fraction(abs(number)))
    elif mode.endswith("i") and not number.nan and number.size is not None:
        number = Float(number.sign, Fraction(abs(rounded(number.exact, mode))))
    result = bits(made, number, mode[:2])
    return flushed(made, result) if "ftz" in parts else result


def _approximation(family: str, parts: list[str], a: Float):
    """The exact bits at special values, else the interval of what it may be."""
    flush = "ftz" in parts
    exact = {"rcp": lambda: over(Float(0, Fraction(1)), a), "sqrt": lambda: root(a)}[family]()
    if exact.nan or not exact.size:
        return bits("f32", exact)
    rounded_to = value("f32", bits("f32", exact))
    if rounded_to.size is None:
        return bits("f32", rounded_to)
    unit = Fraction(2) ** (max(math.floor(math.log2(exact.size)), -126) - 23)
    bound = unit if family == "rcp" else exact.size / 2**23
    if flush and exact.size < Fraction(2) ** -126:
        return exact.sign << 31
    return exact.exact - bound, exact.exact + bound


def _pair(opcode: str, patterns: list[int]) -> int:
    """Of an instruction on the two halves of 32 bits; what cvt takes first becomes the upper half."""
    one = opcode.replace("x2", "")
    if opcode.startswith("cvt"):
        return computed(one, patterns[1:]) | computed(one, patterns[:1]) << 16
    low, high = (computed(one, [x >> shift & 0xFFFF for x in patterns]) for shift in (0, 16))
    return low & 1 | (high & 1) << 1 if opcode.startswith("setp") else low | high << 16


def computed(opcode: str, patterns: list[int]):
    """The bits of a result, from the bits of the sources. None where the ISA leaves them open, and (lowest, highest)
    of an approximation."""
    if "x2" in opcode:
        return _pair(opcode, patterns)
    family, *parts = opcode.split(".")
    kind = parts[-1]
    n = width(kind)
    mode = next((part for part in parts if part in ("rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi")), "rn")
    if family == "setp":
        p = compared(parts[0], *(value(kind, flushed(kind, x) if "ftz" in parts else x) for x in patterns[:2]))
        combine = {"and": lambda x, c: x and c, "or": lambda x, c: x or c, "xor": lambda x, c: x != c}.get(parts[1])
        if combine is None:
            return int(p) | int(not p) << 1
        return int(combine(p, bool(patterns[2] & 1))) | int(combine(not p, bool(patterns[2] & 1))) << 1
    if family == "selp":
        return patterns[0 if patterns[2] & 1 else 1]
    if family == "mov":
        return patterns[0]
    if family == "cvt":
        return _converted(parts, mode, patterns[0]) % (1 << width(parts[-2]))
    if kind not in FORMATS:
        of_type = {"shl": 1, "shr": 1, "bfe": 1, "bfi": 2}.get(family, 4)  # the others are .u32 whatever the type
        numbers = [value(kind, x) for x in patterns[:of_type]] + patterns[of_type:]
        if family in (
            "shl",
            "shr",
            "bfe",
            "bfi",
            "prmt",
            "shf",
            "lop3",
            "bfind",
            "and",
            "or",
            "xor",
            "not",
            "popc",
            "clz",
            "brev",
        ):
            made = _bit_op(family, parts, n, numbers)
            return made % (1 << (32 if family in ("popc", "clz", "bfind") else n))
        if "wide" in parts and family == "mad":
            numbers[2] = value(f"{kind[0]}{2 * n}", patterns[2])
        made = _int_op(family, parts, n, numbers)
        return None if made is None else made % (1 << (2 * n if "wide" in parts else n))
    if family in ("neg", "abs", "copysign"):
        top = 1 << (n - 1)
        a = patterns[0]
        if family == "copysign":
            return a & top | patterns[1] & ~top
        return None if value(kind, a).nan else a ^ top if family == "neg" else a & ~top
    numbers = [value(kind, flushed(kind, x) if "ftz" in parts else x) for x in patterns]
    if "approx" in parts:
        return _approximation(family, parts, numbers[0])
    result = bits(kind, _float_op(family, kind, mode, numbers), mode)
    return flushed(kind, result) if "ftz" in parts else result
