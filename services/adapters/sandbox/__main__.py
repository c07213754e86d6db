"""Says as JSON what this host's sandbox driver is and which promises it does not keep here, for an operator."""

from __future__ import annotations

import json
import sys

from services.adapters.sandbox.registry import make_host_driver
from services.domain.ports.sandbox import Promise
from services.kit.environment import environment


def main() -> int:
    """Print the report; the exit code is 1 when the engine does not answer."""
    driver = make_host_driver(environment())
    report = driver.check()
    missing = sorted(set(Promise) - driver.promises) if report.is_up else []
    told = {"driver": driver.kind, "is_up": report.is_up, "version": report.version, "note": report.note}
    sys.stdout.write(json.dumps({**told, "missing": missing}) + "\n")
    return 0 if report.is_up else 1


if __name__ == "__main__":
    sys.exit(main())
