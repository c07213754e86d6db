"""A strict local Bot API server, with controls for tests under `/__control`.

In a test: `with FakeTelegram() as telegram: …`.
As a process: `python -m tests.fakes.telegram_server --port 8081`.
By default any well-formed token is a bot and any number a chat; give `bots` or `chats` to know only those.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.serving import BrokenConnection, Fault, Faults, Journal, LocalServer
from tests.fakes.telegram_drafts import TelegramDrafts
from tests.fakes.telegram_extras import TelegramExtras
from tests.fakes.telegram_params import (
    Refused,
    bad,
    found_entities,
    read_json,
    read_params,
    read_text,
    read_thread,
    whole,
)

_TOKEN = re.compile(r"([0-9]{1,20}):[A-Za-z0-9_-]+")
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")
_ACTIONS = {"typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice"}
_ACTIONS |= {"upload_document", "choose_sticker", "find_location", "record_video_note", "upload_video_note"}
JSON = dict[str, Any]


class FakeTelegram:
    """The server, its state, and what tests ask of it. `sent` has the messages, `calls` every API call."""

    def __init__(
        self,
        bots: Mapping[str, str] | None = None,
        chats: Mapping[int, JSON] | None = None,
        port: int = 0,
    ) -> None:
        self.bots = bots
        self.chats = chats
        self.sent = Journal()
        self.calls = Journal()
        self.faults = Faults()
        self.webhooks: dict[str, JSON] = {}
        self.hook_errors: dict[str, JSON] = {}
        self._messages: dict[tuple[int, int], JSON] = {}
        self._message_ids = itertools.count(1)
        self.update_ids = itertools.count(100_000_001)
        self.extras = TelegramExtras(self, bad)
        self.drafts = TelegramDrafts(self, bad)
        self._server = LocalServer(self._app(), port)
        self.url = self._server.url

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def run_here(self) -> None:
        """Serve on this thread."""
        self._server.run_here()

    # --- What people do ----------------------------------------------------------------------------------

    def message(self, chat_id: int, text: str, **fields: Any) -> JSON:
        """Make the update of a message that somebody writes; `fields` are added to the message."""
        chat = self._chat(chat_id)
        person = {"id": 501, "is_bot": False, "first_name": "Bob", "username": "bob", "language_code": "en"}
        message: JSON = {
            "message_id": next(self._message_ids),
            "from": person,
            "chat": chat,
            "date": int(time.time()),
            "text": text,
            "entities": found_entities(text),
        } | fields
        if not message["entities"]:
            del message["entities"]
        self._messages[chat_id, message["message_id"]] = message
        return {"update_id": next(self.update_ids), "message": message}

    def deliver(self, update: JSON, token: str | None = None) -> httpx.Response:
        """Post an update to the bot's webhook with its secret; without a token, to the only one there is."""
        hook = self.webhooks[token] if token is not None else next(iter(self.webhooks.values()))
        headers = {"content-type": "application/json"}
        if hook["secret_token"]:
            headers["x-telegram-bot-api-secret-token"] = hook["secret_token"]
        return httpx.post(hook["url"], content=json.dumps(update), headers=headers, timeout=10)

    # --- The Bot API -------------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/bot{token}/{method}", self._answer, methods=["GET", "POST"]),
                Route("/file/bot{token}/{path:path}", self._download, methods=["GET"]),
                Route("/__control/{what}", self._control, methods=["GET", "POST"]),
            ]
        )

    async def _answer(self, request: Request) -> Response:
        token, method = request.path_params["token"], request.path_params["method"].lower()
        params = await read_params(request)
        shown = {key: value for key, value in params.items() if not isinstance(value, dict)}
        self.calls.add({"token": token, "method": method, "params": shown})
        try:
            bot = self._bot(token)
            fault = self.faults.take(method)
            if fault is not None and fault.how != "drop":
                raise _refusal(fault)
            result = self._method(method)(bot, params)
        except Refused as refused:
            return _answered(refused)
        if fault is not None:
            return BrokenConnection()
        return JSONResponse({"ok": True, "result": result})

    async def _download(self, request: Request) -> Response:
        """Give the bytes of a file that `getFile` told of, to its own bot."""
        fault = self.faults.take("download")
        if fault is not None:
            return Response("upstream failure", status_code=500)
        data = self.extras.uploads.get(request.path_params["path"])
        if data is None or request.path_params["token"] not in self.extras.told:
            return JSONResponse({"ok": False, "error_code": 404, "description": "Not Found"}, status_code=404)
        return Response(data, media_type="application/octet-stream")

    def _method(self, name: str) -> Callable[[JSON, JSON], Any]:
        methods: dict[str, Callable[[JSON, JSON], Any]] = {
            "getme": lambda bot, params: _public(bot),
            "setwebhook": self._set_webhook,
            "deletewebhook": self._delete_webhook,
            "getwebhookinfo": self._webhook_info,
            "sendmessage": self._send_message,
            "editmessagetext": self._edit_message_text,
            "sendchataction": self._send_chat_action,
            **self.extras.methods(),
            **self.drafts.methods(),
        }
        if name not in methods:
            raise Refused(404, "Not Found: method not found")
        return methods[name]

    def _bot(self, token: str) -> JSON:
        found = _TOKEN.fullmatch(token)
        if found is None:
            raise Refused(404, "Not Found")
        if self.bots is not None and token not in self.bots:
            raise Refused(401, "Unauthorized")
        name = self.bots[token] if self.bots is not None else f"slipway{found[1]}_bot"
        return {
            "id": int(found[1]),
            "is_bot": True,
            "first_name": name,
            "username": name,
            "can_join_groups": True,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
            "token": token,
        }

    def _set_webhook(self, bot: JSON, params: JSON) -> bool:
        url = str(params.get("url", ""))
        if not url:
            return self._delete_webhook(bot, params)
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost"):
            raise bad("bad webhook: An HTTPS URL must be provided for webhook")
        secret = str(params.get("secret_token", ""))
        if secret and not _SECRET.fullmatch(secret):
            raise bad("secret token contains unallowed characters")
        allowed = read_json(params.get("allowed_updates"), [])
        self.webhooks[bot["token"]] = {"url": url, "secret_token": secret, "allowed_updates": allowed}
        return True

    def _delete_webhook(self, bot: JSON, params: JSON) -> bool:
        self.webhooks.pop(bot["token"], None)
        return True

    def _webhook_info(self, bot: JSON, params: JSON) -> JSON:
        hook = self.webhooks.get(bot["token"], {"url": ""})
        shown = {key: value for key, value in hook.items() if key != "secret_token" and value != []}
        info = shown | {"has_custom_certificate": False, "pending_update_count": 0}
        return info | self.hook_errors.get(bot["token"], {})

    def break_hook(self, token: str, message: str) -> None:
        """Let it look as if the bot's webhook had just failed, with an update that waits."""
        self.hook_errors[token] = {
            "pending_update_count": 1,
            "last_error_date": int(time.time()),
            "last_error_message": message,
        }

    def _send_message(self, bot: JSON, params: JSON) -> JSON:
        chat = self.known_chat(params)
        text, entities = read_text(params)
        keyboard = self.extras.keyboard(params)
        message = self.new_message(bot, chat, params) | {"text": text}
        if entities:
            message["entities"] = entities
        if keyboard:
            message["reply_markup"] = keyboard
        self.remember(chat, message)
        self.drafts.forget(chat["id"])
        self.sent.add({"token": bot["token"], "params": params, "message": message})
        return message

    def new_message(self, bot: JSON, chat: JSON, params: JSON) -> JSON:
        """Make a message of the bot's, without what it says."""
        message: JSON = {
            "message_id": next(self._message_ids),
            "from": _public(bot),
            "chat": chat,
            "date": int(time.time()),
        }
        thread_id = read_thread(chat, params)
        if thread_id is not None:
            message |= {"message_thread_id": thread_id, "is_topic_message": True}
        answered = self._answered(chat, params)
        if answered is not None:
            message["reply_to_message"] = {k: v for k, v in answered.items() if k != "reply_to_message"}
        return message

    def remember(self, chat: JSON, message: JSON) -> None:
        """Keep a message, so that it can be found."""
        self._messages[chat["id"], message["message_id"]] = message

    def find_message(self, chat: JSON, params: JSON) -> JSON | None:
        """Return the message that a call names."""
        return self._messages.get((chat["id"], whole(params, "message_id") or 0))

    def forget_message(self, chat: JSON, message: JSON) -> None:
        """Take a message away."""
        del self._messages[chat["id"], message["message_id"]]

    def _edit_message_text(self, bot: JSON, params: JSON) -> JSON:
        message = self.find_message(self.known_chat(params), params)
        if message is None:
            raise bad("message to edit not found")
        if message["from"]["id"] != bot["id"]:
            raise bad("message can't be edited")
        text, entities = read_text(params)
        keyboard = self.extras.keyboard(params)
        before = (message["text"], message.get("entities", []), message.get("reply_markup"))
        if before == (text, entities, keyboard):
            raise bad(
                "message is not modified: specified new message content and reply markup are exactly the same"
            )
        message |= {"text": text, "entities": entities, "edit_date": int(time.time())}
        message.pop("reply_markup", None)
        if keyboard:
            message["reply_markup"] = keyboard
        return message

    def _send_chat_action(self, bot: JSON, params: JSON) -> bool:
        read_thread(self.known_chat(params), params)
        if params.get("action") not in _ACTIONS:
            raise bad("wrong parameter action in request")
        return True

    def known_chat(self, params: JSON) -> JSON:
        """Return the chat that a call names."""
        chat_id = whole(params, "chat_id")
        if chat_id is None:
            raise bad("chat_id is empty")
        return self._chat(chat_id)

    def _chat(self, chat_id: int) -> JSON:
        if self.chats is not None:
            if chat_id not in self.chats:
                raise bad("chat not found")
            return {"id": chat_id} | self.chats[chat_id]
        if chat_id > 0:
            return {"id": chat_id, "type": "private", "first_name": "Bob"}
        return {"id": chat_id, "type": "supergroup", "title": f"Group {-chat_id}", "is_forum": True}

    def _answered(self, chat: JSON, params: JSON) -> JSON | None:
        reply = read_json(params.get("reply_parameters"), None)
        if reply is None:
            return None
        message = self._messages.get((chat["id"], int(reply["message_id"])))
        if message is None and not reply.get("allow_sending_without_reply"):
            raise bad("message to be replied not found")
        return message

    # --- Controls ----------------------------------------------------------------------------------------

    async def _control(self, request: Request) -> Response:
        body: JSON = await request.json() if await request.body() else {}
        match request.path_params["what"]:
            case "sent":
                return JSONResponse({"messages": self.sent.all()})
            case "calls":
                return JSONResponse({"calls": self.calls.all()})
            case "webhooks":
                return JSONResponse({"webhooks": self.webhooks})
            case "fail":
                self.faults.plan(Fault(**body))
                return JSONResponse({})
            case "deliver":
                return await self._control_deliver(body)
            case "reset":
                self.sent.clear()
                self.calls.clear()
                self.faults.clear()
                return JSONResponse({})
        return JSONResponse({"error": "unknown control"}, status_code=404)

    async def _control_deliver(self, body: JSON) -> Response:
        """Deliver `update`, or a message made of `chat_id`, `text` and `fields`, `repeat` times."""
        update = body.get("update") or self.message(
            int(body["chat_id"]), str(body["text"]), **body.get("fields", {})
        )
        statuses = []
        for _ in range(int(body.get("repeat", 1))):
            answer = await run_in_threadpool(self.deliver, update, body.get("token"))
            statuses.append(answer.status_code)
        return JSONResponse({"update": update, "statuses": statuses})


def _answered(refused: Refused) -> Response:
    body: JSON = {"ok": False, "error_code": refused.code, "description": refused.description}
    if refused.parameters:
        body["parameters"] = refused.parameters
    return JSONResponse(body, status_code=refused.code)


def _public(bot: JSON) -> JSON:
    return {key: value for key, value in bot.items() if key != "token"}


def _refusal(fault: Fault) -> Refused:
    match fault.how:
        case "throttle":
            seconds = fault.retry_after_s
            return Refused(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)
        case "forbid":
            return Refused(403, "Forbidden: bot was blocked by the user")
        case "migrate":
            reason = "Bad Request: group chat was upgraded to a supergroup chat"
            return Refused(400, reason, migrate_to_chat_id=-1001234567890)
        case "markup":
            return bad("can't parse entities: Unsupported start tag at byte offset 0")
        case "error":
            return Refused(500, "Internal Server Error")
    raise ValueError(f"unknown fault {fault.how}")


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--bot", action="append", metavar="TOKEN=USERNAME", help="know only these bots")
    options = parser.parse_args()
    bots = dict(bot.split("=", 1) for bot in options.bot) if options.bot else None
    server = FakeTelegram(bots=bots, port=options.port)
    print(f"TELEGRAM_API_BASE={server.url}", flush=True)
    server.run_here()


if __name__ == "__main__":
    main()
