"""What the times come to: a case's part of the ceiling on this card, the aims, the preferred backend."""

from __future__ import annotations

import math
import re
from typing import Any

from gpu.predicted import LANES, LAUNCHES, counted, seconds

Results = dict[str, Any]
FLAGGEMS = ("FlagGems binomial (Triton)", "NVIDIA H20", 8.8, "flagos-ai/FlagGems PR 5486")  # in print, not measured
LARGE = 1 << 26  # elements: 64 Mpx


def instructions(capability: str) -> dict[str, Any]:
    """What of fastblackout._cuda this card runs: {"architecture", kernel: instructions an element, those at half rate
    twice where they bind}, or an error."""
    from fastblackout.backends import available

    try:
        built = [int(name.removeprefix("sm_")) for name in available.build_facts()["cuda_architectures"]]
        card = int(capability.removeprefix("sm_"))
        name = f"sm_{max(code for code in built if code <= card and code // 10 == card // 10)}"
        found = counted(str(getattr(available.load("_cuda"), "__file__", "")), name)
        return {"architecture": name, **{kernel: instructions.issued for kernel, instructions in found.items()}}
    except Exception as error:  # the times stand without it
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def issue_rate(machine: Results, limits: Results) -> float | None:
    """Instructions of a lane a second at the card's highest clock; what was measured where that is not known."""
    clock = re.match(r"([\d.]+) MHz", machine.get("max_clock") or "")
    if clock is not None:
        return float(machine["multiprocessors"] * LANES) * float(clock[1]) * 1e6
    return limits["issue_giga_s"] * 1e9 if "issue_giga_s" in limits else None


def of_ceiling(row: Results, results: Results) -> float | None:
    """Speed as a part of the lower of the memory's, as copied, and the instructions', as counted. CUDA kernels only."""
    limits, counts = results["ceilings"], results.get("instructions", {})
    issue = issue_rate(results["machine"], limits)
    launches = LAUNCHES.get(row["case"])
    if "error" in row or "error" in counts or row["by"] != "cuda" or None in (launches, issue) or not counts:
        return None
    if "copy_gigabytes_s" not in limits:
        return None
    least = row["elements"] * seconds(launches or (), counts, issue or 0.0, limits["copy_gigabytes_s"] * 1e9)
    return least / seconds_of(row)


def seconds_of(row: Results) -> float:
    return row["graph_seconds"] or row["call_seconds"]


def _rate(results: Results, case: str, *by: str) -> float | None:
    """Elements a second of the fastest of `by` on large inputs."""
    found = [
        row["elements"] / seconds_of(row)
        for row in results["rows"]
        if row["case"] == case and row["by"] in by and row["elements"] == LARGE and "error" not in row
    ]
    return max(found, default=None)


def aims(results: Results) -> list[tuple[str, str, str, str]]:
    """(aim, wanted, found, verdict), for 64 Mpx."""
    made = []

    def aim(name: str, wanted: str, unit: str, found: float | None, least: float | None) -> None:
        if found is None or least is None:
            made.append((name, wanted, "not measured", ""))
        else:
            made.append((name, wanted, f"{found:.4g}{unit}", "met" if found >= least else "NOT met"))

    ours = ("cuda", "triton")
    thin = _rate(results, "thin, x_t", *ours)
    aim("thin, uint8 to uint8", "at least 100 G/s", " G/s", thin and thin / 1e9, 100.0)
    case = "binomial, counts to 255"
    draws, torch_draws = _rate(results, case, *ours), _rate(results, case, "torch.binomial")
    aim(case, "faster than torch.binomial", "x", draws and torch_draws and draws / torch_draws, 1.0)
    what, card, rate, source = FLAGGEMS
    aim(case, f"faster than {what}, {rate} G/s on an {card} ({source})", " G/s", draws and draws / 1e9, rate)
    for case in ("bridge, float32", "birth_loss + gradient"):
        parts = [of_ceiling(r, results) for r in results["rows"] if r["case"] == case and r["elements"] == LARGE]
        part = max((p for p in parts if p is not None), default=None)
        aim(case, "at least 80% of the lower of the ceilings", "%", part and 100 * part, 80.0)
    return made


def preference(results: Results) -> Results:
    """preference.json of the package: for each op timed on both backends at two sizes the faster one, by eager calls,
    and where the other is faster at the smaller size, the elements at which the lines through both times cross."""
    times: dict[tuple[str, str], dict[tuple[str, int], float]] = {}
    for row in results["rows"]:
        if row["by"] in ("cuda", "triton") and "error" not in row:
            times.setdefault((row["op"], row["case"]), {})[row["by"], row["elements"]] = row["call_seconds"]
    sums: dict[str, dict[tuple[str, int], float]] = {}
    for (op, _), found in times.items():
        if len(found) == 4:  # a case that one of them lacks says nothing
            total = sums.setdefault(op, {})
            for at, value in found.items():
                total[at] = total.get(at, 0.0) + value
    ops: Results = {}
    for op, found in sums.items():
        small, large = sorted({elements for _, elements in found})
        behind = [found["cuda", n] - found["triton", n] for n in (small, large)]  # of CUDA, in seconds
        orders = [["triton", "cuda"] if late > 0 else ["cuda", "triton"] for late in behind]
        ops[op] = {"order": orders[1]}
        if orders[0] != orders[1]:
            crossing = small + (large - small) * behind[0] / (behind[0] - behind[1])
            ops[op] |= {"small": orders[0], "below": math.ceil(crossing)}
    return {"card": results["machine"]["card"], "date": results["date"], "ops": ops} if ops else {}
