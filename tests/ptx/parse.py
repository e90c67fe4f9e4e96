"""The text of a PTX module as functions of instructions. Names are unique within a function: one in an inner block
that is taken already gets another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r'(?P<word>(?:[\w.$%]|::)+)|(?P<mark>[-+{}()\[\],;:@!|<>=])|(?P<text>"[^"]*")|(?P<line>\n)|[ \t\r]+|//.*'
)
_TYPE = re.compile(r"\.(pred|(?:[busf])(\d+))$")
_SPACES = (".reg", ".param", ".local", ".shared", ".global", ".const")
_LINKING = (".visible", ".weak", ".extern", ".common")
_TUNING = (".maxntid", ".minnctapersm", ".reqntid", ".maxnreg", ".noreturn", ".pragma", ".file", ".loc")


class PtxError(ValueError):
    """A text that is not understood, with the line where it stands."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")


@dataclass
class Variable:
    """A register (".reg"), or bytes in a state space."""

    name: str
    space: str
    type: str
    size: int  # bytes in all; of a register, bits
    align: int = 1
    values: list[str] | None = None
    unsized: bool = False  # .extern .shared x[]: as large as the launch says


@dataclass(frozen=True)
class Address:
    base: str  # a register, a variable or a number
    offset: int


@dataclass(frozen=True)
class Group:
    """Operands in braces (a vector), in parentheses (of a call), or two with a bar between them ("|")."""

    mark: str
    each: tuple[Operand, ...]


Operand = str | Address | Group


@dataclass
class Instruction:
    line: int
    opcode: str
    operands: list[Operand]
    guard: str = ""  # a predicate, with ! before it where it must be false


@dataclass
class Label:
    name: str


@dataclass
class Function:
    line: int
    name: str
    entry: bool
    results: list[Variable]
    parameters: list[Variable]
    body: list[Instruction | Label] = field(default_factory=list)
    variables: dict[str, Variable] = field(default_factory=dict)


@dataclass
class Module:
    variables: dict[str, Variable] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)


def parse(text: str) -> Module:
    return _Parser(text).module()


class _Parser:
    def __init__(self, text: str) -> None:
        text = re.sub(r"/\*.*?\*/", lambda comment: "\n" * comment[0].count("\n"), text, flags=re.S)
        self.tokens = list(self._scan(text))
        self.at = 0

    @staticmethod
    def _scan(text: str) -> Iterator[tuple[str, int]]:
        at, line = 0, 1
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise PtxError(line, f"{text[at : at + 20]!r}")
            at = match.end()
            if match.lastgroup == "line":
                line += 1
            elif match.lastgroup is not None:
                yield match[0], line
        yield "", line

    @property
    def line(self) -> int:
        return self.tokens[self.at][1]

    def see(self) -> str:
        return self.tokens[self.at][0]

    def take(self, wanted: str = "") -> str:
        word, line = self.tokens[self.at]
        if (wanted and word != wanted) or not word:
            raise PtxError(line, f"{wanted or 'more'} expected, not {word or 'the end'!r}")
        self.at += 1
        return word

    def taken(self, word: str) -> bool:
        if self.see() != word:
            return False
        self.at += 1
        return True

    def number(self) -> int:
        sign = -1 if self.taken("-") else 1
        line, word = self.line, self.take()
        try:
            return sign * int(word.rstrip("U"), 0)
        except ValueError:
            raise PtxError(line, f"a number expected, not {word!r}") from None

    def literal(self) -> str:
        return ("-" if self.taken("-") else "") + self.take()

    def skip_line(self) -> None:
        line = self.line
        while self.see() and self.line == line:
            self.at += 1

    def module(self) -> Module:
        module = Module()
        while self.see():
            word = self.see()
            if word in (".version", ".target", ".address_size", ".file"):
                self.skip_line()
            elif word == ".section":  # debug information
                while self.take() != "}":
                    pass
            else:
                while self.see() in _LINKING:
                    self.take()
                if self.see() in (".entry", ".func"):
                    self.function(module)
                else:
                    for variable in self.variables():
                        module.variables[variable.name] = variable
        return module

    def variables(self) -> Iterator[Variable]:
        """Of a declaration up to its semicolon."""
        space = self.take()
        if space not in _SPACES:
            raise PtxError(self.line, f"{space}: unknown")
        align, type_, size = self.type()
        yield self.named(space, align, type_, size)
        while self.taken(","):
            yield self.named(space, align, type_, size)
        self.take(";")

    def type(self) -> tuple[int, str, int]:
        """(alignment, type, its bits)"""
        align = 1
        while True:
            word = self.take()
            if word == ".align":
                align = self.number()
            elif match := _TYPE.match(word):
                return align, match[1], int(match[2] or 1)
            elif word not in (".ptr", ".global", ".shared", ".const", ".local", ".attribute"):
                raise PtxError(self.line, f"{word}: unknown type")

    def named(self, space: str, align: int, type_: str, bits: int) -> Variable:
        name = self.take()
        if space == ".reg":
            if self.taken("<"):  # %r<9>: %r0 to %r8, which are made as they are met
                self.number()
                self.take(">")
                name += "*"
            return Variable(name, space, type_, bits)
        count, unsized = 1, False
        while self.taken("["):
            unsized = self.see() == "]"
            count *= 0 if unsized else self.number()
            self.take("]")
        values: list[str] | None = None
        if self.taken("="):
            values = []
            if self.taken("{"):
                while not self.taken("}"):
                    values.append(self.literal())
                    self.taken(",")
            else:
                values.append(self.literal())
        return Variable(name, space, type_, bits // 8 * count, max(align, bits // 8), values, unsized)

    def parameters(self) -> list[Variable]:
        found: list[Variable] = []
        if self.taken("("):
            while not self.taken(")"):
                space = self.take()
                if space != ".param":
                    raise PtxError(self.line, f"{space}: a parameter must be in .param")
                align, type_, bits = self.type()
                while self.see() in (".ptr", ".global", ".shared", ".const", ".local", ".align"):  # what it points to
                    if self.take() == ".align":
                        self.number()
                found.append(self.named(space, align, type_, bits))
                self.taken(",")
        return found

    def function(self, module: Module) -> None:
        line, entry = self.line, self.take() == ".entry"
        results = self.parameters()
        function = Function(line, self.take(), entry, results, self.parameters())
        while self.see() in _TUNING:
            self.skip_line()
        if self.taken(";"):  # a declaration
            return
        self.take("{")
        for variable in function.results + function.parameters:
            function.variables[variable.name] = variable
        self.block(function, {})
        module.functions[function.name] = function

    def block(self, function: Function, names: dict[str, str]) -> None:
        """Up to its closing brace; names: what the names of outer blocks have become."""
        names = dict(names)
        while not self.taken("}"):
            word = self.see()
            if self.taken("{"):
                self.block(function, names)
            elif word in _SPACES:
                for variable in self.variables():
                    new = variable.name
                    while new in function.variables:
                        new += "_"
                    names[variable.name] = variable.name = new
                    function.variables[new] = variable
            elif word in (".pragma", ".loc", ".file"):
                self.skip_line()
            elif self.tokens[self.at + 1][0] == ":":
                function.body.append(Label(self.take()))
                self.take(":")
            else:
                function.body.append(self.instruction(names))

    def instruction(self, names: dict[str, str]) -> Instruction:
        line, guard = self.line, ""
        if self.taken("@"):
            guard = "!" if self.taken("!") else ""
            guard += self.name(names)
        made = Instruction(line, self.take(), [], guard)
        while not self.taken(";"):
            made.operands.append(self.operand(names))
            self.taken(",")
        return made

    def name(self, names: dict[str, str]) -> str:
        word = self.take()
        return names.get(word, word)

    def operand(self, names: dict[str, str]) -> Operand:
        for opening, closing in ("{}", "()"):
            if self.taken(opening):
                each = []
                while not self.taken(closing):
                    each.append(self.operand(names))
                    self.taken(",")
                return Group(opening, tuple(each))
        if self.taken("["):
            base, offset = self.name(names), 0
            if self.taken("+") or self.see() == "-":
                offset = self.number()
            self.take("]")
            return Address(base, offset)
        sign = "-" if self.taken("-") else "!" if self.taken("!") else ""
        word = sign + self.name(names)
        if self.taken("|"):
            return Group("|", (word, self.name(names)))
        return word
