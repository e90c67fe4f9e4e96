"""A PTX module as C++: a function of C++ for each of PTX, and a variable of bits for each register."""

from __future__ import annotations

from dataclasses import dataclass

from .parse import Function, Label, Module, Variable
from .statement import statement
from .values import Operands, bits_in, number, plain


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
