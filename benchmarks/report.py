"""The table, the fit and the plot of a benchmark's results."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

MB = 1_000_000


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    return {
        "processors": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """The slope of log seconds over log rows (least squares); None with fewer than two sizes.

    >>> exponent([(10, 1.0), (100, 10.0), (1000, 100.0)])
    1.0
    """
    if len(points) < 2:
        return None
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)
    return round(slope, 3)


def markdown(data: Mapping[str, Any]) -> str:
    """The results as a Markdown table, with the machine and the fitted exponent."""
    on = data["machine"]
    lines = [
        f"{on['processors']} processors, {on['memory_gb']} GB, Python {on['python']}, {on['system']}; both orgs on the same machine.",
        "",
        "| records | objects | floor s | verify floor s | start s | wall s | (wall − start) / floor | peak RSS MB | API calls (floor) | orgs' CPU share | repeat s | later repeat s | (repeat − its start − read of the target) / extract: first, later | repeat calls | later calls | ingest jobs of both |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in data["results"]:
        share = row["orgs_cpu"] / (row["orgs_cpu"] + row["cpu"]) if row["cpu"] else 0
        lines.append(
            f"| {row['rows']:,} | {row['objects']} | {row['floor_seconds']:.1f} | {row['verify_seconds']:.1f} | {row['start']:.1f} "
            f"| {row['wall']:.1f} | **{row['ratio']:.2f}** | {row['peak_rss'] / MB:,.0f} | {row['calls']} ({row['floor_calls']}) "
            f"| {share:.0%} | {row['repeat_wall']:.1f} | {row['later_wall']:.1f} "
            f"| {row['repeat_ratio']:.2f}, {row['later_ratio']:.2f} | {row['repeat_calls']} | {row['later_calls']} "
            f"| {row['repeat_ingest']} |"
        )
    for row in data["results"][:1]:
        fixed = row["start"] - row["start_floor"]
        lines += [
            "",
            f"Of the start {row['start_floor']:.1f} s are what the floor needs for the same 24 records; {fixed:.1f} s are the tool's own. "
            f"A first repeat of them takes {row['repeat_start']:.1f} s, a later one {row['later_start']:.1f} s.",
        ]
    points = [
        (row["rows"], row["wall"] - row["start"])
        for row in data["results"]
        if row["wall"] > row["start"] and row["objects"] < 50
    ]
    fitted = exponent(points)
    if fitted is not None:
        lines += ["", f"Seconds grow with records to the power of {fitted} ({len(points)} sizes)."]
    return "\n".join(lines) + "\n"


def plot(data: Mapping[str, Any], to: Path) -> None:
    """Wall over records (log-log) and memory over time, as one SVG without a plotting library's weight."""
    results = [row for row in data["results"] if row["objects"] < 50]
    if not results:
        return
    width, height, pad = 460, 320, 50
    left = _axes(
        [(row["rows"], row["wall"]) for row in results],
        [(row["rows"], row["floor_seconds"] + row["verify_seconds"]) for row in results],
    )
    curves = [(row["rows"], row["samples"]) for row in results if row["samples"]]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * width}" height="{height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{2 * width}" height="{height}" fill="white"/>',
        *_lines(left, width, height, pad),
        *_memory(curves, width, height, pad),
        "</svg>",
    ]
    to.write_text("\n".join(parts) + "\n")


def _axes(*series: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    return [[(math.log10(x), math.log10(max(y, 1e-3))) for x, y in one] for one in series]


def _lines(series: Sequence[Sequence[tuple[float, float]]], width: int, height: int, pad: int) -> list[str]:
    xs, ys = [x for one in series for x, _ in one], [y for one in series for _, y in one]
    x0, x1, y0, y1 = math.floor(min(xs)), math.ceil(max(xs)) or 1, math.floor(min(ys)), math.ceil(max(ys))
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)

    def at(x: float, y: float) -> str:
        return f"{pad + (x - x0) / (x1 - x0) * (width - 2 * pad):.1f},{height - pad - (y - y0) / (y1 - y0) * (height - 2 * pad):.1f}"

    parts = [f'<text x="{width / 2}" y="18" text-anchor="middle">seconds over records (log-log)</text>']
    for x in range(x0, x1 + 1):
        px, py = at(x, y0).split(",")
        parts.append(
            f'<text x="{px}" y="{float(py) + 16}" text-anchor="middle">1e{x}</text><line x1="{px}" x2="{px}" y1="{pad}" y2="{py}" stroke="#ddd"/>'
        )
    for y in range(y0, y1 + 1):
        px, py = at(x0, y).split(",")
        parts.append(
            f'<text x="{float(px) - 6}" y="{py}" text-anchor="end">1e{y}</text><line x1="{px}" x2="{width - pad}" y1="{py}" y2="{py}" stroke="#ddd"/>'
        )
    for one, colour, name in zip(series, ("#1f77b4", "#888"), ("isync migrate", "floor"), strict=True):
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(at(x, y) for x, y in one)}"/>'
        )
        x, y = at(*one[-1]).split(",")
        parts.append(f'<text x="{x}" y="{float(y) - 6}" text-anchor="end" fill="{colour}">{name}</text>')
    return parts


def _memory(curves: Sequence[tuple[int, Sequence[tuple[float, int]]]], width: int, height: int, pad: int) -> list[str]:
    top = max((rss for _, samples in curves for _, rss in samples), default=1)
    parts = [
        f'<text x="{1.5 * width}" y="18" text-anchor="middle">memory over the run (top: {top / MB:,.0f} MB)</text>'
    ]
    for (rows, samples), colour in zip(curves, ("#2ca02c", "#ff7f0e", "#d62728", "#9467bd", "#8c564b"), strict=False):
        last = samples[-1][0] or 1
        points = " ".join(
            f"{width + pad + seconds / last * (width - 2 * pad):.1f},{height - pad - rss / top * (height - 2 * pad):.1f}"
            for seconds, rss in samples
        )
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')
        parts.append(
            f'<text x="{2 * width - pad}" y="{pad + 14 * curves.index((rows, samples))}" text-anchor="end" fill="{colour}">{rows:,}</text>'
        )
    return parts
