"""What tools/gpu_check makes of its benches: the wire's floor, a line for bench/results, the table.

bench/reference/h100x2.json has what else runs on two H100s, and what Braid is to reach there.
"""

import math
import pathlib
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "bench/reference/h100x2.json"

FIGURES = ("dispatch", "dispatch_in_place", "combine", "pair", "layout", "launch_gap",
           "dispatch_call", "combine_call", "dispatch_host", "dispatch_in_place_host",
           "combine_host")  # those that the mode has
SHAPE = ("ranks", "processes", "tokens", "hidden", "experts", "topk", "routing", "rows", "alignment",
         "dispatch", "input", "scales", "combine", "reduce", "fan_out", "rounds", "send_workers", "receive_workers",
         "sets", "graph_operations", "repeat")


def record(case: str, report: dict, run: dict) -> dict:
    """A line of bench/results; run: gpu, date, commit, cards."""
    names = [f"{name}_us" for name in FIGURES]
    figures = {name: report[name] for name in names if name in report}
    return run | {"bench": report["mode"], "case": case} | {
        name: report[name] for name in SHAPE} | figures


def crossing(experts: int, top_k: int, ranks: int, per_rank: bool) -> float:
    """The copies of a token that leave its rank: of a uniform routing, the mean."""
    local = experts // ranks
    if not per_rank:
        return top_k * (ranks - 1) / ranks
    return (ranks - 1) * (1 - math.comb(experts - local, top_k) / math.comb(experts, top_k))


def wire_floor_us(figure: str, line: dict, gigabytes_per_second: float) -> float | None:
    """What a rank's bytes take on the link, payload and scales alone; None of a layout, which has
    neither."""
    if figure == "layout":
        return None

    def copies(per_rank: bool) -> float:
        return line["tokens"] * crossing(line["experts"], line["topk"], line["ranks"], per_rank)

    bf16 = 2 * line["hidden"]
    scales = {"bf16": 0, "fp8_ue8m0": math.ceil(line["hidden"] / 512) * 4}
    row = bf16 if line["dispatch"] == "bf16" else line["hidden"] + scales.get(
        line["dispatch"], line["hidden"] // 128 * 4)
    dispatch = copies(line["fan_out"] == "per_rank") * row
    combine = copies(line["reduce"] == "expert_rank") * bf16
    taken = {"dispatch": dispatch, "dispatch_in_place": dispatch, "combine": combine,
             "pair": dispatch + combine}[figure]
    return taken / gigabytes_per_second / 1e3


class Row(NamedTuple):
    what: str
    ours: float | None
    peer: str
    peer_us: float | None
    floor: float | None
    must: float | None
    goal: float | None

    @property
    def verdict(self) -> str:
        if self.ours is None:
            return "not measured"
        if self.must is None:
            return "-"
        if self.goal is not None and self.ours <= self.goal:
            return "goal met"
        return "met" if self.ours <= self.must else "NOT MET"

    def cells(self) -> list[str]:
        def number(value: float | None, digits: int = 1) -> str:
            return "-" if value is None else f"{value:.{digits}f}"

        both = self.ours is not None and self.peer_us is not None
        best = f"{self.peer_us:.1f} {self.peer}" if self.peer_us is not None else "-"
        return [self.what, number(self.ours, 2), best, number(self.floor),
                number(self.ours / self.peer_us, 2) if both else "-",
                number(self.must), number(self.goal), self.verdict]


def rows_of(lines: list[dict], reference: dict, titles: dict[str, str],
            comparable: bool) -> list[Row]:
    """The reference's rows. Where not comparable, ours alone: no link, other conditions."""
    by_case = {line["case"]: line for line in lines}
    rows = []
    for each in reference["rows"]:
        line = by_case.get(each["case"])
        ours = line[f"{each['figure']}_us"]["p50"] if line else None
        what = f"{each['figure'].replace('_', ' ')}, {titles[each['case']]}"
        if not comparable:
            rows.append(Row(what, ours, "", None, None, None, None))
            continue
        peer, peer_us = min(each["peers"].items(), key=lambda item: item[1], default=("", None))
        floor = wire_floor_us(each["figure"], line,
                              reference["link"]["gigabytes_per_second"]) if line else None
        rows.append(Row(what, ours, peer, peer_us, floor, each.get("must"), each.get("goal")))
    return rows


HEADINGS = ["microseconds", "p50", "best peer", "wire floor", "ours/peer", "must", "goal", ""]


def table(rows: list[Row]) -> list[str]:
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    left = (0, 2, len(HEADINGS) - 1)
    return ["  ".join(cell.ljust(width) if column in left else cell.rjust(width)
                      for column, (cell, width) in enumerate(zip(row, widths))).rstrip()
            for row in cells]
