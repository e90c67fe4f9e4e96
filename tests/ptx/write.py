"""A PTX module as C++: a function of C++ for each of PTX, and a variable of bits for each register.

An instruction is a statement: its meaning, by the table of instructions.py, with the operands put in.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from .instructions import TABLE, Meaning
from .parse import Address, Function, Group, Instruction, Label, Module, Operand, PtxError, Variable

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


@dataclass
class Entry:
    """A kernel of a module that was written."""

    name: str
    symbol: str  # the C function of it
    sizes: list[int]  # of its parameters in bytes


def write(module: Module) -> tuple[str, list[Entry], int]:
    """(C++, its kernels, bytes of static shared memory that each takes)"""
    shared, size = _shared_places(module)
    functions = {name: f"f{at}_{plain(name)[-40:]}" for at, name in enumerate(module.functions)}
    text = ['#include "runtime.h"', "namespace ptx {", "namespace {"]
    text += [_global(v) for v in module.variables.values() if v.space in (".global", ".const")]
    writers = [_FunctionWriter(module, f, functions, shared) for f in module.functions.values()]
    text += [f"{writer.signature()};" for writer in writers]
    text += [line for writer in writers for line in writer.lines()]
    text += ["}  // namespace", "}  // namespace ptx"]
    entries = []
    for at, function in enumerate(f for f in module.functions.values() if f.entry):
        entry = Entry(function.name, f"ptx_kernel_{at}", [p.size for p in function.parameters])
        entries.append(entry)
        sizes = ", ".join(map(str, [*entry.sizes, 0]))
        text += [
            f"PTX_EXPORT void {entry.symbol}(const simt::Machine& machine, const unsigned char* const* parameters) {{",
            f"  static constexpr uint32_t sizes[] = {{{sizes}}};",
            "  ptx::Thread t{machine, parameters, sizes, ptx::settings.poison};",
            f"  ptx::{functions[function.name]}(t);",
            "}",
        ]
    text.append("PTX_EXPORT ptx::Settings* ptx_settings() { return &ptx::settings; }")
    return "\n".join(text) + "\n", entries, size


def _shared_places(module: Module) -> tuple[dict[str, int], int]:
    """({variable: its place in shared memory}, bytes in all); one of unknown size follows the others."""
    everything = [*module.variables.values(), *(v for f in module.functions.values() for v in f.variables.values())]
    places, size, unsized = {}, 0, []
    for variable in everything:
        if variable.space == ".shared":
            if variable.unsized:
                unsized.append(variable)
                continue
            size = -(-size // variable.align) * variable.align
            places[variable.name] = size
            size += variable.size
    size = -(-size // max((v.align for v in unsized), default=1)) * max((v.align for v in unsized), default=1)
    return places | {v.name: size for v in unsized}, size


def _global(variable: Variable) -> str:
    values, bits = "", bits_in(variable.type)
    if variable.values:
        raw = b"".join(number(value, bits).to_bytes(bits // 8, "little") for value in variable.values)
        values = " = {" + ", ".join(map(str, raw)) + "}"
    return f"alignas({max(variable.align, 16)}) unsigned char g_{plain(variable.name)}[{variable.size}]{values};"


class _FunctionWriter:
    def __init__(self, module: Module, function: Function, functions: dict[str, str], shared: dict[str, int]) -> None:
        self.function, self.functions = function, functions
        self.operands = Operands(module, function, functions, shared)

    def signature(self) -> str:
        given = [] if self.function.entry else [f"unsigned char* v_{plain(v.name)}" for v in self._passed()]
        return f"[[maybe_unused]] static void {self.functions[self.function.name]}({', '.join(['Thread& t', *given])})"

    def _passed(self) -> list[Variable]:
        return self.function.results + self.function.parameters

    def lines(self) -> list[str]:
        body = [
            f"L_{plain(each.name)}:;" if isinstance(each, Label) else f"  {statement(self.operands, each)}"
            for each in self.function.body
        ]
        head = []
        for name, bits in sorted(self.operands.registers.items(), key=lambda item: item[1]):
            kind = "bool" if bits == 1 else f"uint{bits}_t"
            head.append(f"  {kind} {name} = static_cast<{kind}>(t.poison{' & 1' if bits == 1 else ''});")
        passed = {v.name for v in self._passed()}
        for variable in self.function.variables.values():
            name = f"v_{plain(variable.name)}"
            if variable.space in (".param", ".local"):
                if variable.name not in passed:
                    head.append(f"  alignas(16) unsigned char {name}[{variable.size}];")
                    head.append(f"  std::memset({name}, static_cast<int>(t.poison), {variable.size});")
                if variable.name in self.operands.listed and not (self.function.entry and variable.name in passed):
                    head.append(f"  const Listed l_{name}(t, {name}, {variable.size});")
        return [f"{self.signature()} {{", *head, *body, "}"]
