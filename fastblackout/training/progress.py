"""How far a piece of work is: a bar on a terminal; in a pipe or a file a plain line now and then."""

from __future__ import annotations

import sys
import time

from ..ground.terminal import COLUMNS, wrap

SECONDS_BETWEEN_LINES = 5.0
FIRST_SILENCE, LONGEST_SILENCE = 60.0, 600.0  # seconds after which there is a line, however little was done


class Progress:
    """Work of `total` pieces, shown on stderr; a context manager.

    Both say how long the rest will take at the mean speed so far, pauses included.
    lines: into how many parts plain lines divide the work where stderr is no terminal; they are 5 seconds apart at
    least, and the last piece always gets its line if keep. Of long work there are more: a first line after a minute,
    and one in 10 minutes. keep: whether a bar stays when the work is done.
    """

    def __init__(
        self,
        total: int,
        unit: str,
        what: str = "",
        done: int = 0,
        shown: bool = True,
        lines: int = 20,
        keep: bool = True,
    ) -> None:
        self.total, self.unit, self.what, self.done, self.keep = total, unit, what, done, keep
        self.lines = lines if shown and sys.stderr is not None else 0
        self.text = ""
        self._bar = None
        self._mark = self._mark_of(done)
        self._known: tuple[float, int] | None = None  # when the first pieces were done, and how many
        self._began = self._told = time.monotonic()
        self._patience = FIRST_SILENCE
        if shown and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self.lines = 0
            head = f"{what}: " if what else ""
            self._bar = tqdm(
                total=total,
                initial=done,
                leave=keep,
                file=sys.stderr,
                dynamic_ncols=True,
                smoothing=0,  # the mean speed, since a training rests now and then to be judged
                bar_format=head + "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    @property
    def on_terminal(self) -> bool:
        """Whether there is a bar."""
        return self._bar is not None

    def update(self, pieces: int = 1) -> None:
        """Counts `pieces` more pieces as done."""
        self.done += pieces
        if self._bar is not None:
            self._bar.update(pieces)
        elif self.lines:
            now, mark = time.monotonic(), self._mark_of(self.done)
            self._known = self._known or (now, self.done)
            silent, last = now - self._told, self.done >= self.total and self.keep
            if silent >= self._patience or (mark > self._mark and (last or silent >= SECONDS_BETWEEN_LINES)):
                self._mark, self._told, self._patience = mark, now, LONGEST_SILENCE
                self._tell(now)

    def note(self, text: str) -> None:
        """What stands behind the bar, or at the end of the next line."""
        self.text = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def say(self, text: str) -> None:
        """A text for the reader, above the bar; nothing where nothing is shown."""
        if self._bar is not None:
            self._bar.write(wrap(text), file=sys.stderr)
        elif self.lines:
            print(wrap(text), file=sys.stderr, flush=True)

    def _mark_of(self, done: int) -> int:
        return done * self.lines // max(self.total, 1)

    def _tell(self, now: float) -> None:
        """A line. The time left goes by the mean speed after the first pieces: those may have compiled the network."""
        began, first = self._known or (now, self.done)
        when = ""
        if self.done >= self.total:
            when = f"{clock(now - self._began)} in all"
        elif self.done > first:
            when = f"{clock((now - began) / (self.done - first) * (self.total - self.done))} left"
        head = f"{self.what}: " if self.what else ""
        line = ", ".join(part for part in (f"{head}{self.done}/{self.total} {self.unit}", when, self.text) if part)
        while len(line) > COLUMNS and ", " in line:
            line = line.rpartition(", ")[0]  # whole, but for what stands last
        self.say(line)


def clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
