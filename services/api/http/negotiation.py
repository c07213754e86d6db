"""Content negotiation without negotiation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request


class AlwaysJson(BaseContentNegotiation):
    """Answers JSON whatever the caller says it accepts: there is nothing else."""

    def select_parser(self, request: Request, parsers: Iterable[Any]) -> Any:
        """Return the only parser."""
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None
    ) -> tuple[Any, str]:
        """Return the only renderer."""
        return next(iter(renderers)), "application/json"
