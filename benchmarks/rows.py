"""The form of a figure: what was measured, beside what in the same run."""

from __future__ import annotations

from typing import TypedDict


class Row(TypedDict):
    """One figure with its baseline. `ratio` is value divided by baseline; `detail` says how it was measured."""

    name: str
    value: float
    unit: str
    baseline_name: str
    baseline: float
    ratio: float
    detail: str


def row(name: str, value: float, unit: str, baseline_name: str, baseline: float, detail: str = "") -> Row:
    """Make a row; the ratio is worked out."""
    return Row(
        name=name,
        value=round(value, 2),
        unit=unit,
        baseline_name=baseline_name,
        baseline=round(baseline, 2),
        ratio=round(value / baseline, 3) if baseline else 0.0,
        detail=detail,
    )


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of the values lie, by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
