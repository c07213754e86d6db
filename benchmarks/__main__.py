"""`make bench`: every benchmark, as one table of figures beside their baselines."""

from __future__ import annotations

import json
import sys

from benchmarks import (
    chaos,
    conversations,
    fanout,
    gateway,
    latency,
    models,
    rest,
    scale,
    soak,
    throughput,
)
from benchmarks.rows import Row

BENCHMARKS = {
    "latency": latency.run,
    "throughput": throughput.run,
    "fanout": fanout.run,
    "rest": rest.run,
    "scale": scale.run,
    "gateway": gateway.run,
    "models": models.run,
    "chaos": chaos.run,
    "conversations": conversations.run,
    "soak": soak.run,
}


def as_table(rows: list[Row]) -> str:
    """Format rows as a Markdown table."""
    lines = ["| figure | value | baseline | ratio | how |", "|---|---|---|---|---|"]
    lines += [
        f"| {r['name']} | {r['value']:g} {r['unit']} | {r['baseline_name']}: {r['baseline']:g} | {r['ratio']:g}× "
        f"| {r['detail']} |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmarks that are named, or all."""
    names = sys.argv[1:] or list(BENCHMARKS)
    rows: list[Row] = []
    for name in names:
        print(f"… {name}", file=sys.stderr, flush=True)
        measured = BENCHMARKS[name]()
        rows += measured
        print(json.dumps(measured), file=sys.stderr, flush=True)
    print(as_table(rows))


if __name__ == "__main__":
    main()
