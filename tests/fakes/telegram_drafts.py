"""Drafts of messages on the local Bot API server, as strict as Telegram's: in private chats, for half a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.fakes.serving import Journal
from tests.fakes.telegram_params import read_text, read_thread, whole

if TYPE_CHECKING:
    from tests.fakes.telegram_server import FakeTelegram

JSON = dict[str, Any]
LIFE_S = 30.0


class TelegramDrafts:
    """`shown` has every text that a draft showed; `visible` those that people see now."""

    def __init__(self, server: FakeTelegram, bad: Callable[[str], Exception]) -> None:
        self._server, self._bad = server, bad
        self.shown = Journal()
        self._drafts: dict[tuple[int, int], tuple[str, float]] = {}

    def methods(self) -> dict[str, Callable[[JSON, JSON], Any]]:
        """Return the methods by their names in lower case."""
        return {"sendmessagedraft": self._send_draft}

    def visible(self, chat_id: int) -> list[str]:
        """List the drafts that are seen in a chat now."""
        return [
            text
            for (place, _), (text, at) in self._drafts.items()
            if place == chat_id and time.monotonic() - at < LIFE_S
        ]

    def forget(self, chat_id: int) -> None:
        """Take the drafts of a chat away, as a message of the bot does."""
        for key in [key for key in self._drafts if key[0] == chat_id]:
            del self._drafts[key]

    def _send_draft(self, bot: JSON, params: JSON) -> bool:
        chat = self._server.known_chat(params)
        if chat["type"] != "private":
            raise self._bad("message drafts can be sent only to private chats")
        if not whole(params, "draft_id"):
            raise self._bad("DRAFT_ID_INVALID")
        read_thread(chat, params)
        if str(params.get("can_stop", "false")).lower() not in ("true", "false"):
            raise self._bad("can_stop is not a boolean")
        text = read_text(params)[0] if params.get("text") else ""
        self._drafts[chat["id"], whole(params, "draft_id") or 0] = (text, time.monotonic())
        self.shown.add(
            {"chat_id": chat["id"], "draft_id": whole(params, "draft_id"), "text": text, "params": params}
        )
        return True
