"""What the local Bot API server knows beyond texts: edits, deletions, reactions, files, buttons and their presses."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from services.adapters.chat.emoji import NAMES
from tests.fakes.serving import Journal
from tests.fakes.telegram_html import CannotParse, read_html, utf16_units
from tests.fakes.telegram_params import read_json

if TYPE_CHECKING:
    from tests.fakes.telegram_server import FakeTelegram

JSON = dict[str, Any]
MAX_UPLOAD = 50_000_000
MAX_DOWNLOAD = 20_000_000


class TelegramExtras:
    """The methods, over the state of the server. `files`, `reactions`, `deleted`, `answers` have what came of them."""

    def __init__(self, server: FakeTelegram, bad: Callable[[str], Exception]) -> None:
        self._server = server
        self._bad = bad
        self._query_ids = itertools.count(4_000_000_001)
        self.open_queries: set[str] = set()
        self.commands: dict[str, list[JSON]] = {}
        self.uploads: dict[str, bytes] = {}
        self.told: set[str] = set()
        """The bots that asked where a file is."""
        self.files, self.reactions, self.deleted, self.answers = Journal(), Journal(), Journal(), Journal()

    def methods(self) -> dict[str, Callable[[JSON, JSON], Any]]:
        """Return the methods by their names in lower case."""
        return {
            "deletemessage": self._delete_message,
            "setmessagereaction": self._set_reaction,
            "senddocument": self._send_document,
            "answercallbackquery": self._answer_query,
            "setmycommands": self._set_commands,
            "getfile": self._get_file,
        }

    def upload(self, data: bytes, suffix: str = "bin") -> str:
        """Keep a file that somebody sends; returns its id."""
        file_id = f"file_{len(self.uploads) + 1}"
        self.uploads[f"documents/{file_id}.{suffix}"] = data
        return file_id

    def _get_file(self, bot: JSON, params: JSON) -> JSON:
        file_id = str(params.get("file_id", ""))
        path = next((path for path in self.uploads if path.startswith(f"documents/{file_id}.")), None)
        if path is None:
            raise self._bad("wrong file_id or the file is temporarily unavailable")
        size = len(self.uploads[path])
        if size > MAX_DOWNLOAD:
            raise self._bad("file is too big")
        self.told.add(bot["token"])
        return {"file_id": file_id, "file_unique_id": "u", "file_size": size, "file_path": path}

    def press(self, message: JSON, label: str, person: JSON | None = None) -> JSON:
        """Make the update of somebody who presses the button with this label below a message of the bot."""
        keyboard = message["reply_markup"]["inline_keyboard"]
        (button,) = [button for row in keyboard for button in row if button["text"] == label]
        query_id = str(next(self._query_ids))
        self.open_queries.add(query_id)
        query = {
            "id": query_id,
            "from": person or {"id": 501, "is_bot": False, "first_name": "Bob", "username": "bob"},
            "message": message,
            "chat_instance": "1",
            "data": button["callback_data"],
        }
        return {"update_id": next(self._server.update_ids), "callback_query": query}

    def keyboard(self, params: JSON) -> JSON | None:
        """Read the buttons of a message as strictly as Telegram does."""
        markup = read_json(params.get("reply_markup"), None)
        if markup is None:
            return None
        rows = markup.get("inline_keyboard")
        if not isinstance(rows, list) or sum(len(row) for row in rows) > 100:
            raise self._bad("reply markup is too long")
        for button in (button for row in rows for button in row):
            kinds = [name for name in ("callback_data", "url") if button.get(name)]
            if not str(button.get("text", "")).strip() or len(kinds) != 1:
                raise self._bad("can't parse inline keyboard button: Text buttons are unallowed")
            if "callback_data" in kinds and not 1 <= len(button["callback_data"].encode()) <= 64:
                raise self._bad("BUTTON_DATA_INVALID")
            if "url" in kinds and not button["url"].startswith(("https://", "http://", "tg://")):
                raise self._bad("BUTTON_URL_INVALID")
        return {"inline_keyboard": rows} if rows else None

    def _set_commands(self, bot: JSON, params: JSON) -> bool:
        listed = read_json(params.get("commands"), None)
        if not isinstance(listed, list) or len(listed) > 100:
            raise self._bad("can't parse bot commands")
        for one in listed:
            if not re.fullmatch(r"[a-z0-9_]{1,32}", str(one.get("command", ""))):
                raise self._bad("BOT_COMMAND_INVALID")
            if not 1 <= len(str(one.get("description", ""))) <= 256:
                raise self._bad("BOT_COMMAND_DESCRIPTION_INVALID")
        self.commands[bot["token"]] = listed
        return True

    def _delete_message(self, bot: JSON, params: JSON) -> bool:
        chat = self._server.known_chat(params)
        message = self._server.find_message(chat, params)
        if message is None:
            raise self._bad("message to delete not found")
        if message["from"]["id"] != bot["id"] and chat["type"] == "private":
            raise self._bad("message can't be deleted for everyone")
        self._server.forget_message(chat, message)
        self.deleted.add({"message": message})
        return True

    def _set_reaction(self, bot: JSON, params: JSON) -> bool:
        message = self._server.find_message(self._server.known_chat(params), params)
        if message is None:
            raise self._bad("message to react not found")
        wanted = read_json(params.get("reaction"), [])
        if len(wanted) > 1 or any(
            one.get("type") != "emoji" or one.get("emoji") not in NAMES for one in wanted
        ):
            raise self._bad("REACTION_INVALID")
        self.reactions.add({"message": message, "emoji": [one["emoji"] for one in wanted]})
        return True

    def _send_document(self, bot: JSON, params: JSON) -> JSON:
        chat = self._server.known_chat(params)
        document = params.get("document")
        if isinstance(document, str) and document.startswith("attach://"):
            document = params.get(document.removeprefix("attach://"))
        if not isinstance(document, dict):
            raise self._bad("there is no document in the request")
        if not document["data"]:
            raise self._bad("file must be non-empty")
        if len(document["data"]) > MAX_UPLOAD:
            raise self._bad("file is too big")
        caption, mode = str(params.get("caption", "")), params.get("parse_mode")
        if mode == "HTML":
            try:
                caption, _ = read_html(caption)
            except CannotParse as error:
                raise self._bad(str(error)) from error
        if utf16_units(caption) > 1024:
            raise self._bad("message caption is too long")
        message = self._server.new_message(bot, chat, params) | {
            "document": {
                "file_id": f"D{len(document['data'])}",
                "file_unique_id": "u",
                "file_name": document["name"],
                "file_size": len(document["data"]),
            }
        }
        if caption:
            message["caption"] = caption
        self._server.remember(chat, message)
        self.files.add({"message": message, "name": document["name"], "data": document["data"]})
        return message

    def _answer_query(self, bot: JSON, params: JSON) -> bool:
        query_id = str(params.get("callback_query_id", ""))
        if query_id not in self.open_queries:
            raise self._bad("query is too old and response timeout expired or query ID is invalid")
        if len(str(params.get("text", ""))) > 200:
            raise self._bad("MESSAGE_TOO_LONG")
        self.open_queries.discard(query_id)
        is_alert = str(params.get("show_alert", "")).lower() == "true"
        self.answers.add({"text": params.get("text", ""), "is_alert": is_alert, "at": time.time()})
        return True
