"""One instruction as a statement of C++: its meaning, with the operands put in."""

from __future__ import annotations

import re

from .instructions import TABLE, Meaning
from .parse import Address, Group, Instruction, Operand
from .values import FLOATS, Operands, bits_in, c_type, plain

_SPACES = {
    "global": "global",
    "shared": "shared",
    "shared::cta": "shared",
    "local": "local",
    "param": "param",
    "const": "constant",
}
_ORDERS = {order: order for order in ("relaxed", "acquire", "release", "acq_rel", "sc")} | {"volatile": "relaxed"}
_WIDENING = ("ld", "cvt")  # whose destination may be wider than the type
_NARROWING = ("st", "cvt")  # whose source may be


def statement(operands: Operands, each: Instruction) -> str:
    operands.line = each.line
    text = _instruction(operands, each)
    return f"if ({operands.value(each.guard, 'pred')}) {{ {text} }}" if each.guard else text


def _instruction(operands: Operands, each: Instruction) -> str:
    family, *suffixes = each.opcode.split(".")
    space, vector = "generic", 1
    if family in ("ld", "st", "atom", "red"):
        for suffix in list(suffixes):
            if suffix in _SPACES:
                space = _SPACES[suffix]
                suffixes.remove(suffix)
            elif suffix in ("v2", "v4"):
                vector = int(suffix[1])
                suffixes.remove(suffix)
    meaning = TABLE.get(".".join([family, *suffixes]))
    if meaning is None:
        raise operands.error(f"{each.opcode}: an instruction that is not known")
    return _Statement(operands, each, meaning, family, suffixes, space, vector).text()


class _Statement:
    """One instruction: its meaning with the operands put in."""

    def __init__(
        self,
        operands: Operands,
        each: Instruction,
        meaning: Meaning,
        family: str,
        suffixes: list[str],
        space: str,
        vector: int,
    ) -> None:
        self.names, self.each, self.meaning, self.family = operands, each, meaning, family
        self.suffixes, self.space, self.vector = suffixes, space, vector
        self.kind = suffixes[-1] if suffixes else ""

    def _kind(self, code: str) -> str:
        """u32 or the like of a type of the table."""
        if code in ("T", "B", "V"):
            return self.kind if code == "T" or self.kind == "pred" else f"b{bits_in(self.kind)}"
        if code == "W":
            return f"{self.kind[0]}{2 * int(self.kind[1:])}"
        return self.suffixes[-2] if code == "D" else code

    def _flushes(self, code: str) -> bool:
        return "ftz" in self.suffixes and self._kind(code) == "f32"

    def _line(self) -> str:
        """The Line of thread.h."""
        first = {"atom": "relaxed", "red": "relaxed", "membar": "sc"}.get(self.family, "weak")
        order = next((_ORDERS[suffix] for suffix in self.suffixes if suffix in _ORDERS), first)
        return f"(Line{{{self.each.line}, {order}, {'cta' if 'cta' in self.suffixes else 'gpu'}}})"

    def text(self) -> str:
        destination, *sources = self.meaning.types
        operands = list(self.each.operands)
        if sources == ["call"]:
            return self._call(operands)
        made = [] if destination == "-" else [operands.pop(0)] if operands else []
        if len(operands) != len(sources) or (destination != "-" and not made):
            raise self.names.error(f"{self.each.opcode}: {len(self.each.operands)} operands")
        given = {
            letter: self._source(*pair)
            for letter, pair in zip("abcd", zip(operands, sources, strict=True), strict=False)
        }
        words = {f"${i}": suffix for i, suffix in enumerate(self.suffixes, 1)}
        words |= {
            "$-2": self.suffixes[-2] if len(self.suffixes) > 1 else "",
            "LINE": self._line(),
            "SPACE": self.space,
        }
        words |= {code: c_type(self._kind(code)) for code in "TBDWV" if re.search(rf"\b{code}\b", self.meaning.text)}
        if self.vector > 1:
            words["V"] = f"Vector<{c_type(self._kind('V'))}, {self.vector}>"
        words["AT"] = f'(simt::Place{{"{self.each.opcode} of line {self.each.line}", "{self.each.opcode}", 0}})'
        expression = re.sub(
            r"\$-?\d|\b(?:[abcdTBDWV]|LINE|SPACE|AT)\b", lambda m: (words | given)[m[0]], self.meaning.text
        )
        return self._assigned(made[0], destination, expression) if made else f"{expression};"

    def _source(self, operand: Operand, code: str) -> str:
        names = self.names
        if code.startswith("["):
            return self._address(operand, code[1:-1])
        if code == "label":
            if operand not in names.labels:
                raise names.error(f"{operand}: not a label")
            return f"L_{plain(str(operand))}"
        if code == "V" and self.vector > 1:
            if not isinstance(operand, Group) or len(operand.each) != self.vector:
                raise names.error(f"{self.each.opcode}: {self.vector} values are needed")
            kind = self._kind(code)
            each = ", ".join(names.value(x, kind, True) for x in operand.each)
            return f"Vector<{c_type(kind)}, {self.vector}>{{{{{each}}}}}"
        value = names.value(operand, self._kind(code), self.family in _NARROWING)
        return f"flushed({value})" if self._flushes(code) else value

    def _address(self, operand: Operand, space: str) -> str:
        names, space = self.names, space or self.space
        if not isinstance(operand, Address):
            raise names.error(f"{operand}: not an address")
        if names.is_register(operand.base):
            base = f"static_cast<uint64_t>({names.register(operand.base)})"
        elif (variable := names.variable(operand.base)) is not None:
            size = self.vector * bits_in(self.kind) // 8 if self.kind else 0
            if variable.space in (".param", ".local") and space in ("param", "local"):
                if not 0 <= operand.offset <= variable.size - size or operand.offset % max(size, 1):
                    raise names.error(
                        f"{self.each.opcode}: {operand.base}+{operand.offset} is outside of it, or not aligned"
                    )
                self.space = "known"
            base = names.place(operand.base)
        else:
            base = names.value(operand.base, "b64")
        return f"({base} + UINT64_C({operand.offset % (1 << 64)}))" if operand.offset else base

    def _assigned(self, operand: Operand, code: str, expression: str) -> str:
        first, _, second = code.partition("|")
        kind = "pred" if first == "p" else self._kind(first)
        if second:
            pair = operand.each if isinstance(operand, Group) and operand.mark == "|" else (operand,)
            parts = [
                self._put(x, k, f"made.{name}")
                for x, k, name in zip(pair, (kind, "pred"), ("first", "second"), strict=False)
            ]
            return f"{{ const auto made = {expression}; {' '.join(parts)} }}"
        if self.vector > 1:
            if not isinstance(operand, Group) or len(operand.each) != self.vector:
                raise self.names.error(f"{self.each.opcode}: {self.vector} destinations are needed")
            parts = [self._put(x, kind, f"made.each[{i}]") for i, x in enumerate(operand.each)]
            return f"{{ const auto made = {expression}; {' '.join(parts)} }}"
        if isinstance(operand, Group) and len(operand.each) > 1:  # unpacked
            bits = bits_in(kind) // len(operand.each)
            parts = [
                self._put(x, f"b{bits}", f"static_cast<uint{bits}_t>(made >> {bits * i})")
                for i, x in enumerate(operand.each)
            ]
            return f"{{ const auto made = {expression}; {' '.join(parts)} }}"
        if first in ("T", "D") and kind in FLOATS:
            value = f"static_cast<{c_type(kind)}>({expression})"
            expression = f"bits_of({f'flushed({value})' if self._flushes(first) else value})"
            kind = f"b{bits_in(kind)}"
        return self._put(operand.each[0] if isinstance(operand, Group) else operand, kind, expression)

    def _put(self, operand: Operand, kind: str, expression: str) -> str:
        """Writes a value of a type into a register, which may be wider where the instruction says so."""
        names = self.names
        if operand == "_":
            return f"static_cast<void>({expression});"
        if not isinstance(operand, str):
            raise names.error(f"{operand}: not a register")
        name = names.register(operand)
        bits, signed = names.registers[name], (self.kind if self.family == "ld" else kind)[0] == "s"
        if bits < bits_in(kind) or (bits > bits_in(kind) and self.family not in _WIDENING):
            raise names.error(f"{operand}: a register of {bits} bits for {bits_in(kind)}")
        if bits == 1:
            return f"{name} = {expression};"
        if signed and bits > bits_in(kind):
            expression = f"static_cast<int{bits}_t>(static_cast<int{bits_in(kind)}_t>({expression}))"
        else:
            expression = f"static_cast<{c_type(f'b{bits_in(kind)}')}>({expression})"
        return f"{name} = static_cast<uint{bits}_t>({expression});"

    def _call(self, operands: list[Operand]) -> str:
        results = operands.pop(0).each if isinstance(operands[0], Group) else ()
        name, *rest = operands
        if name not in self.names.functions:
            raise self.names.error(f"{name}: a function that is not here")
        given = rest[0].each if rest and isinstance(rest[0], Group) else ()
        passed = [f"v_{plain(str(x))}" for x in (*results, *given)]
        return f"{self.names.functions[str(name)]}({', '.join(['t', *passed])});"
