"""Parsers whose help has two lengths, the most used options and all of them, and whose errors are one line."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

from ..ground.terminal import visible, width
from ..training.ranks import let_first_speak, speaks


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, which name the command.

    most_used: the options that --help shows, by their destinations; none: it shows all. --help-all shows all, in the
    same groups. before_help is called with the arguments that stand before either.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(add_help=False, allow_abbrev=False, formatter_class=_Formatter, **options)
        self.most_used: Collection[str] = ()
        self.before_help: Callable[[argparse.Namespace], None] = lambda given: None
        self._positionals.title, self._optionals.title = "arguments", "help"
        self.add_argument("-h", "--help", action=_Help, help="Show this page.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but a command refuses by itself what it does not know: its error names it."""
        given, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return given, unknown

    def error(self, message: str) -> NoReturn:
        let_first_speak()
        self.exit(2, visible(f"{self.prog}: error: {message} (see {self.prog} --help)") + "\n" if speaks() else None)

    def format_help(self, every: bool = False) -> str:
        """The page of the most used options, or of every one."""

        def shown(action: argparse.Action) -> bool:
            return every or not (self.most_used and action.option_strings) or action.dest in self.most_used

        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        arguments, help_options, *groups = self._action_groups
        for group in (arguments, *groups, help_options):
            formatter.start_section(group.title)
            formatter.add_arguments(filter(shown, group._group_actions))
            formatter.end_section()
        formatter.add_text(self.epilog)
        if not all(map(shown, self._actions)):
            formatter.add_text(f"More options: {self.prog} --help-all")
        return formatter.format_help()


def numbers(text: str) -> float | list[float]:
    """A number, or several with commas between them."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, or numbers with commas, got {text!r}") from None
    return found if len(found) > 1 else found[0]


class Command(Parser):
    """The parser of one command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_argument("--help-all", action=_Help, help="Show all options.")


class _Help(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: Any, given: argparse.Namespace, values: Any, option: str | None = None) -> None:
        parser.before_help(given)
        parser._print_message(parser.format_help(every=option == "--help-all"), sys.stdout)
        parser.exit()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Wraps the options to the terminal, but to 80 columns at most, and keeps the lines of the examples."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=width())

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)  # names such as beta-binomial stay whole
