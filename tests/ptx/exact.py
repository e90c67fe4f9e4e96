"""Numbers of PTX's types, exact: an int of an integer type; of a float type a fraction, an infinity or a NaN, with a
sign."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

FORMATS = {
    "f16": (11, -14, 15),
    "bf16": (8, -126, 127),
    "f32": (24, -126, 127),
    "f64": (53, -1022, 1023),
}  # digits, exponents of normal numbers


class Float(NamedTuple):
    sign: int
    size: Fraction | None  # None: infinite
    nan: bool = False

    @property
    def exact(self) -> Fraction:
        return -self.size if self.sign else self.size


NAN = Float(0, None, True)


def width(kind: str) -> int:
    return 1 if kind == "pred" else int(kind.lstrip("bfsu"))


def value(kind: str, bits: int):
    """The number that bits of a type are."""
    n = width(kind)
    bits %= 1 << n
    if kind[0] == "s":
        return bits - (bits >> (n - 1) << n)
    if kind not in FORMATS:
        return bits
    digits, least, most = FORMATS[kind]
    sign, exponent, fraction = (
        bits >> (n - 1),
        bits >> (digits - 1) & ((1 << (n - digits)) - 1),
        bits % (1 << (digits - 1)),
    )
    if exponent == (1 << (n - digits)) - 1:
        return Float(sign, None, fraction != 0)
    whole = fraction if exponent == 0 else fraction + (1 << (digits - 1))
    return Float(sign, whole * Fraction(2) ** (max(exponent, 1) - 1 + least - digits + 1))


def bits(kind: str, number, mode: str = "rn") -> int:
    """The bits of a number, of a float rounded to its type; a NaN is the canonical one, all ones without a sign."""
    n = width(kind)
    if kind not in FORMATS:
        return int(number) % (1 << n)
    digits, least, most = FORMATS[kind]
    infinite = ((1 << (n - digits)) - 1) << (digits - 1)
    if number.nan:
        return (1 << (n - 1)) - 1
    top = number.sign << (n - 1)
    if number.size is None:
        return top | infinite
    if number.size == 0:
        return top
    exponent = max(number.size.numerator.bit_length() - number.size.denominator.bit_length(), least)
    if number.size < Fraction(2) ** exponent and exponent > least:
        exponent -= 1
    unit = Fraction(2) ** (exponent - digits + 1)
    whole = rounded(number.size / unit, {"rm": "rp", "rp": "rm"}.get(mode, mode) if number.sign else mode)
    made = whole if exponent == least else whole + ((exponent - least) << (digits - 1))
    if made >= infinite:  # too large: infinite, or the largest where that lies in the direction
        away = mode == "rn" or mode == ("rm" if number.sign else "rp")
        made = infinite if away else infinite - 1
    return top | made


def rounded(x: Fraction, mode: str) -> int:
    down = math.floor(x)
    if mode in ("rm", "rmi", "rz", "rzi"):
        return down if mode[1] == "m" or x >= 0 else math.ceil(x)
    if mode in ("rp", "rpi"):
        return math.ceil(x)
    left = x - down
    return down + (left > Fraction(1, 2) or (left == Fraction(1, 2) and down % 2 == 1))


def flushed(kind: str, pattern: int) -> int:
    """Subnormal: a zero of the same sign."""
    digits, n = FORMATS[kind][0], width(kind)
    return pattern if pattern >> (digits - 1) & ((1 << (n - digits)) - 1) else pattern >> (n - 1) << (n - 1)


def added(a: Float, b: Float, mode: str) -> Float:
    if a.nan or b.nan or (a.size is None and b.size is None and a.sign != b.sign):
        return NAN
    if a.size is None or b.size is None:
        return a if a.size is None else b
    total = a.exact + b.exact
    if total == 0:  # of the sign of both, else + but in the direction of minus infinity
        return Float(a.sign if a.sign == b.sign else int(mode == "rm"), Fraction(0))
    return Float(int(total < 0), abs(total))


def times(a: Float, b: Float) -> Float:
    if a.nan or b.nan or (a.size is None and b.size == 0) or (b.size is None and a.size == 0):
        return NAN
    infinite = a.size is None or b.size is None
    return Float(a.sign ^ b.sign, None if infinite else a.size * b.size)


def over(a: Float, b: Float) -> Float:
    if a.nan or b.nan or (a.size is None and b.size is None) or (a.size == 0 and b.size == 0):
        return NAN
    sign = a.sign ^ b.sign
    if a.size is None or b.size == 0:
        return Float(sign, None)
    return Float(sign, Fraction(0) if b.size is None else a.size / b.size)


def root(a: Float) -> Float:
    """To 200 binary digits, with one more that says whether that is exact: enough to round."""
    if a.nan or (a.sign and a.size != 0):
        return NAN
    if a.size is None or a.size == 0:
        return a
    shift = 200 - (a.size.numerator.bit_length() - a.size.denominator.bit_length()) // 2
    scaled = a.size * Fraction(4) ** shift
    found = math.isqrt(math.floor(scaled))
    return Float(0, (found + (0 if found * found == scaled else Fraction(1, 2))) / Fraction(2) ** shift)


def least(a: Float, b: Float) -> Float:
    """Of a NaN and a number the number; +0.0 > -0.0."""
    if a.nan or b.nan:
        return b if a.nan else a
    order = [(-1 if x.sign else 1) if x.size is None else 0 for x in (a, b)]
    key = [(o, x.exact if o == 0 else 0, -x.sign) for o, x in zip(order, (a, b), strict=True)]
    return a if key[0] <= key[1] else b


def negative(a: Float) -> Float:
    return a._replace(sign=1 - a.sign)


def compared(how: str, a, b) -> bool:
    how = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}.get(how, how)
    if isinstance(a, Float):
        if a.nan or b.nan:
            return how == "nan" or (how.endswith("u") and how != "nu")
        if how in ("num", "nan"):
            return how == "num"
        how = how[:2]
        a, b = ((math.inf if x.size is None else x.size) * (-1 if x.sign else 1) for x in (a, b))
    return {"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[how]


def to_integer(kind: str, source: str, a: Float, mode: str) -> int:
    """Clamped to the range. A NaN: 0 if the source is not .f64 and the destination not .s64 or .u64, else 1 << (bits
    - 1)."""
    n = width(kind)
    if a.nan:
        return 0 if source != "f64" and n != 64 else 1 << (n - 1)
    low, high = (-(1 << (n - 1)), (1 << (n - 1)) - 1) if kind[0] == "s" else (0, (1 << n) - 1)
    if a.size is None:
        return low if a.sign else high
    return min(max(rounded(a.exact, mode), low), high)
