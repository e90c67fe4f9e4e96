"""What a card's clocks were while something was timed: nvidia-smi, asked ten times a second."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import threading
import time

QUERY = "clocks.sm,clocks.mem,power.draw,temperature.gpu"
COMMAND = ("nvidia-smi", "-i", "0", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits", "-lms", "100")


class Clock:
    """Samples from `with` to its end; none where the command is not there."""

    def __init__(self, command: tuple[str, ...] = COMMAND) -> None:
        self.command = command
        self.samples: list[tuple[float, list[float]]] = []  # time.time(), the numbers of QUERY

    def __enter__(self) -> Clock:
        self.process = None
        with contextlib.suppress(OSError):
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):  # "[N/A]": the card does not tell
                self.samples.append((time.time(), [float(value) for value in line.split(",")]))

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def between(self, begun: float, ended: float) -> dict[str, float] | None:
        """Least, median and most MHz of the multiprocessors, median MHz of the memory, watts and degrees."""
        rows = [numbers for at, numbers in list(self.samples) if begun <= at <= ended]
        if not rows:
            return None
        clock, memory, watts, degrees = zip(*rows, strict=True)
        middle = statistics.median
        found = {"sm_mhz_least": min(clock), "sm_mhz": middle(clock), "sm_mhz_most": max(clock)}
        found |= {"memory_mhz": middle(memory), "watts": middle(watts), "degrees": middle(degrees)}
        return found | {"samples": len(rows)}
