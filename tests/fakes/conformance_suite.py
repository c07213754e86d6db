"""The official conformance suite of the protocol, and how it is run."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from tests.fakes import npm_packages
from tests.fakes.npm_packages import Packages

_RUN_WITHIN_S = 300


@dataclass(frozen=True, slots=True)
class Suite:
    """An installed suite."""

    packages: Packages

    def run(self, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the scenarios for servers against an address."""
        program = self.packages.modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
        return subprocess.run(
            [str(self.packages.node), str(program), "server", "--url", url, *arguments],
            capture_output=True,
            text=True,
            timeout=_RUN_WITHIN_S,
            check=False,
        )


def install() -> Suite:
    """Install what the lock file names. Raises: RuntimeError with what npm said."""
    return Suite(npm_packages.install("conformance"))
