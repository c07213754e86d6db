"""Rooms in the conformance suite: all but what needs a platform outside, for there is none.

What each ability does in a room is asked in `tests/domain/test_rooms.py`, where there are rooms.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from services.adapters.chat.tests.case import Platform
from services.adapters.chat.tests.markdown_text import read_text
from services.adapters.chat.web.config import WebConfig
from services.domain.ports.chat import Place


class _Case:
    config = WebConfig()
    wrong_config = WebConfig()
    place = Place("a room")

    def measure(self, part: str) -> int:
        return len(part)

    def check_markup(self, part: str) -> str:
        return read_text(part, reads_html=False)

    def running(self) -> AbstractContextManager[Platform]:
        raise NotImplementedError("There is no server of rooms.")


CASE = _Case()
