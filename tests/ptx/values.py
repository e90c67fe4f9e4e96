"""The operands of a function as C++: registers, numbers, and the places of variables."""

from __future__ import annotations

import re
import struct

from .parse import Function, Group, Label, Module, Operand, PtxError, Variable

_SPECIAL = {
    "%tid.x": "t.machine.thread",
    "%ntid.x": "t.machine.threads",
    "%ctaid.x": "t.machine.block",
    "%nctaid.x": "t.machine.blocks",
    "%laneid": "t.machine.thread % 32",
    "%warpid": "t.machine.thread / 32",
} | {
    f"%{name}.{axis}": value
    for name, value in (("tid", "0"), ("ctaid", "0"), ("ntid", "1"), ("nctaid", "1"))
    for axis in "yz"
}
FLOATS = {"f16": "half", "bf16": "bfloat", "f32": "float", "f64": "double"}


def plain(name: str) -> str:
    return re.sub(r"\W", "_", name)


def number(text: str, bits: int) -> int:
    """The bits of a literal."""
    sign = -1 if text.startswith("-") else 1
    text = text.lstrip("-")
    if text[:2] in ("0f", "0d", "0F", "0D"):
        value = int(text[2:], 16)
        if text[1] in "fF" and bits == 64:
            value = int.from_bytes(struct.pack("<d", struct.unpack("<f", value.to_bytes(4, "little"))[0]), "little")
        return value
    return sign * int(text.rstrip("U"), 0) % (1 << bits)


def bits_in(kind: str) -> int:
    return 1 if kind == "pred" else int(kind.lstrip("bfsu"))


def c_type(kind: str) -> str:
    """The C++ type of u8, s8, b8, f16, pred and so on."""
    if kind in FLOATS:
        return FLOATS[kind]
    return "bool" if kind == "pred" else f"{'' if kind[0] == 's' else 'u'}int{kind[1:]}_t"


class Operands:
    """The operands of a function. They remember the registers that they met, and variables whose address was taken."""

    def __init__(self, module: Module, function: Function, functions: dict[str, str], shared: dict[str, int]) -> None:
        self.module, self.function, self.functions, self.shared = module, function, functions, shared
        self.registers: dict[str, int] = {}  # C++ name: bits
        self.labels = {each.name for each in function.body if isinstance(each, Label)}
        self.listed: set[str] = set()  # variables whose address is taken
        self.line = function.line

    def error(self, what: str) -> PtxError:
        return PtxError(self.line, what)

    def register(self, name: str) -> str:
        """The C++ variable of a register."""
        found = self.function.variables.get(name) or self.function.variables.get(re.sub(r"\d+$", "*", name))
        if found is None or found.space != ".reg":
            raise self.error(f"{name}: not a register")
        made = f"r_{plain(name)}"
        self.registers[made] = found.size
        return made

    def is_register(self, name: str) -> bool:
        found = self.function.variables.get(name) or self.function.variables.get(re.sub(r"\d+$", "*", name))
        return found is not None and found.space == ".reg"

    def variable(self, name: str) -> Variable | None:
        return self.function.variables.get(name) or self.module.variables.get(name)

    def place(self, name: str) -> str:
        """The address of a variable in its state space."""
        if name in self.shared:
            return f"UINT64_C({self.shared[name]})"
        if name in self.function.variables:
            if self.function.entry and name in (names := [v.name for v in self.function.parameters]):
                return f"reinterpret_cast<uint64_t>(t.parameters[{names.index(name)}])"
            return f"reinterpret_cast<uint64_t>(v_{plain(name)})"
        return f"reinterpret_cast<uint64_t>(g_{plain(name)})"

    def value(self, operand: Operand, kind: str, narrows: bool = False) -> str:
        """An operand as a number of a type."""
        if isinstance(operand, Group) and operand.mark == "{":
            if len(operand.each) == 1:
                return self.value(operand.each[0], kind, narrows)
            bits = bits_in(kind) // len(operand.each)
            parts = [
                f"static_cast<{c_type(kind)}>({self.value(x, f'b{bits}')}) << {bits * i}"
                for i, x in enumerate(operand.each)
            ]
            return f"({' | '.join(parts)})"
        if not isinstance(operand, str):
            raise self.error(f"{operand}: not a value")
        if operand.startswith("!"):
            return f"!{self.value(operand[1:], kind)}"
        if operand[0] in "-0123456789":
            raw = f"UINT64_C({number(operand, bits_in(kind))})"
            return self.as_number(raw, kind, 64)
        if operand in _SPECIAL:
            return self.as_number(f"({_SPECIAL[operand]})", kind, 32)
        if self.is_register(operand):
            name = self.register(operand)
            bits = self.registers[name]
            if bits != bits_in(kind) and not (narrows and bits > bits_in(kind)):
                raise self.error(f"{operand}: a register of {bits} bits where {bits_in(kind)} are needed")
            return self.as_number(name, kind, bits)
        if self.variable(operand) is not None and bits_in(kind) in (32, 64):
            self.listed.add(operand)
            return self.as_number(self.place(operand), kind, 64)
        raise self.error(f"{operand}: not known")

    @staticmethod
    def as_number(raw: str, kind: str, bits: int) -> str:
        """Bits of a wider or equal type as a number of a type."""
        if kind == "pred":
            return raw if bits == 1 else f"({raw} != 0)"
        if kind in FLOATS:
            return f"from_bits<{c_type(kind)}>(static_cast<uint{bits_in(kind)}_t>({raw}))"
        return f"static_cast<{c_type(kind)}>({raw})"
