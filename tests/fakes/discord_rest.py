"""The local Discord server's REST API: what each call does, and what it refuses."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from tests.fakes.discord_checks import MAX_FILE_BYTES, Refused, check_message, invalid, is_snowflake
from tests.fakes.serving import Journal

if TYPE_CHECKING:
    from tests.fakes.discord_server import FakeDiscord

JSON = dict[str, Any]
NONCE_LIFE_S = 300.0
_ID = r"([^/]+)"


class DiscordRest:
    """The calls, over the state of the server. The journals have what came of them."""

    def __init__(self, server: FakeDiscord) -> None:
        self._server = server
        self._nonces: dict[str, tuple[float, JSON]] = {}
        self._attachments: dict[str, bytes] = {}
        self.has_threads = True
        self.closed_channels: set[str] = set()
        self.is_down = False
        self.before_list: Callable[[str], Any] = lambda channel_id: None
        self.files, self.reactions, self.deleted, self.ephemeral = Journal(), Journal(), Journal(), Journal()
        self.typing, self.commands = Journal(), Journal()
        message = f"/channels/{_ID}/messages/{_ID}"
        self._routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", "/gateway", self._gateway),
            ("GET", "/gateway/bot", self._gateway),
            ("GET", "/users/@me", self._me),
            ("GET", "/applications/@me", lambda body: self._server.application),
            ("GET", "/oauth2/applications/@me", lambda body: self._server.application),
            ("PATCH", "/applications/@me", self._change_application),
            ("PUT", f"/applications/{_ID}/commands", self._set_commands),
            ("POST", "/users/@me/channels", self._open_direct),
            ("GET", f"/channels/{_ID}", self._get_channel),
            ("POST", f"/channels/{_ID}/typing", self._type),
            ("POST", f"/channels/{_ID}/messages", self._create),
            ("GET", f"/channels/{_ID}/messages", self._list),
            ("GET", message, self._get),
            ("PATCH", message, self._edit),
            ("DELETE", message, self._delete),
            ("POST", f"{message}/threads", self._open_thread),
            ("PUT", f"{message}/reactions/{_ID}/@me", self._react),
            ("POST", f"/interactions/{_ID}/{_ID}/callback", self._acknowledge),
            ("POST", f"/webhooks/{_ID}/{_ID}", self._follow_up),
        ]

    async def answer(
        self, method: str, path: str, body: JSON, files: list[JSON], query: Mapping[str, str]
    ) -> Any:
        """Do what a call asks for. Raises: Refused."""
        for known_method, pattern, do in self._routes:
            found = re.fullmatch(pattern, path)
            if found is not None and method == known_method:
                more: JSON = {"files": files} if do == self._create else {}
                more |= {"query": query} if do in (self._acknowledge, self._list) else {}
                return await run_in_threadpool(do, *(unquote(one) for one in found.groups()), body, **more)
        raise Refused(404, 0, "404: Not Found")

    async def download(self, request: Request) -> Response:
        """Give the bytes of a file."""
        data = self._attachments.get(request.path_params["file_id"])
        return Response(data) if data is not None else Response("gone", status_code=404)

    # --- The bot and its application ----------------------------------------------------------------------

    def _gateway(self, body: JSON) -> JSON:
        left = self._server.gateway.starts_left
        limit = {"total": 1000, "remaining": left, "reset_after": 14_400_000, "max_concurrency": 1}
        shards = self._server.gateway.shards
        return {"url": self._server.gateway_url, "shards": shards, "session_start_limit": limit}

    def _me(self, body: JSON) -> JSON:
        from tests.fakes.discord_server import BOT

        return BOT

    def _change_application(self, body: JSON) -> JSON:
        if "interactions_endpoint_url" in body:
            url = body["interactions_endpoint_url"]
            if url is not None and not self._server.people.is_endpoint_sound(url):
                raise invalid("interactions_endpoint_url: The specified URL could not be verified.")
            self._server.application["interactions_endpoint_url"] = url
        return self._server.application

    def _set_commands(self, application_id: str, given: JSON) -> list[JSON]:
        body: list[JSON] = given["items"]
        if application_id != self._server.application["id"]:
            raise Refused(404, 10002, "Unknown Application")
        if len({command.get("name") for command in body}) != len(body):
            raise invalid("APPLICATION_COMMANDS_DUPLICATE_NAME")
        for command in body:
            for described in (command, *command.get("options", ())):
                name, description = described.get("name", ""), described.get("description", "")
                is_good = re.fullmatch(r"[-_\w]{1,32}", name) and name == name.lower()
                if not is_good or not 1 <= len(description) <= 100:
                    raise invalid("name, description")
        self.commands.add({"commands": body})
        return [
            {"id": self._server.next_id(), "application_id": application_id, **command} for command in body
        ]

    def _open_direct(self, body: JSON) -> JSON:
        from tests.fakes.discord_server import BOB, DIRECT_ID

        if not is_snowflake(str(body.get("recipient_id", ""))):
            raise invalid("recipient_id: not a snowflake")
        if body["recipient_id"] != BOB["id"]:
            raise Refused(400, 50033, "Invalid Recipient(s)")
        return self._server.channels[DIRECT_ID]

    # --- Channels and messages ----------------------------------------------------------------------------

    def _get_channel(self, channel_id: str, body: JSON) -> JSON:
        if not is_snowflake(channel_id):
            raise invalid("channel_id: not a snowflake")
        channel = self._server.channels.get(channel_id)
        if channel is None:
            raise Refused(404, 10003, "Unknown Channel")
        return channel

    def _type(self, channel_id: str, body: JSON) -> None:
        self._get_channel(channel_id, body)
        self.typing.add({"channel": channel_id})

    def _create(self, channel_id: str, body: JSON, files: list[JSON]) -> JSON:
        channel = self._get_channel(channel_id, body)
        check_message(body, has_file=bool(files))
        if any(len(one["data"]) > MAX_FILE_BYTES for one in files):
            raise Refused(413, 40005, "Request entity too large")
        if channel["type"] in (4, 15):
            raise Refused(400, 50008, "Cannot send messages in a non-text channel")
        reference = body.get("message_reference")
        if reference and reference.get("fail_if_not_exists", True):
            self._get(channel_id, str(reference.get("message_id")), {})
        nonce = body.get("nonce")
        if nonce is not None and body.get("enforce_nonce"):
            made_at, earlier = self._nonces.get(str(nonce), (0.0, {}))
            if earlier and time.monotonic() - made_at < NONCE_LIFE_S:
                return earlier
        message = self._server.people.made(channel_id, str(body.get("content") or ""), is_bot=True)
        message["components"] = body.get("components") or []
        message["attachments"] = [self._attach(channel_id, one) for one in files]
        if nonce is not None:
            self._nonces[str(nonce)] = (time.monotonic(), message)
        self._server.people.keep(message)
        self._server.sent.add({"channel": channel_id, "params": body, "message": message})
        # The key comes back with the message and its event, but it is not kept.
        announced = message | ({"nonce": nonce} if nonce is not None else {})
        self._server.gateway.dispatch("MESSAGE_CREATE", announced)
        return announced

    def _attach(self, channel_id: str, file: JSON) -> JSON:
        self.files.add({"channel": channel_id, "name": file["name"], "data": file["data"]})
        return self.add_attachment(channel_id, file["name"], file["content_type"], file["data"])

    def add_attachment(self, channel_id: str, name: str, content_type: str, data: bytes) -> JSON:
        """Keep a file, and return it as messages name it."""
        file_id = self._server.next_id()
        self._attachments[file_id] = data
        url = f"{self._server.url}/attachments/{channel_id}/{file_id}/file"
        return {
            "id": file_id,
            "filename": name,
            "content_type": content_type,
            "size": len(data),
            "url": url,
            "proxy_url": url,
        }

    def _list(self, channel_id: str, body: JSON, query: Mapping[str, str]) -> list[JSON]:
        """List the messages that follow one, the newest of them first; they do not say in which server they are."""
        self._get_channel(channel_id, body)
        if self.is_down:
            raise Refused(502, 0, "502: Bad Gateway")
        self.before_list(channel_id)
        after, limit = query.get("after", ""), int(query.get("limit", "50"))
        if not is_snowflake(after) or not 1 <= limit <= 100:
            raise invalid("after, limit")
        if channel_id in self.closed_channels:
            raise Refused(403, 50001, "Missing Access")
        there = self._server.messages.get(channel_id, {}).values()
        following = sorted((int(one["id"]), one) for one in there if int(one["id"]) > int(after))
        told = [one for _, one in following[:limit]][::-1]
        return [{name: one[name] for name in one if name not in ("guild_id", "member")} for one in told]

    def _get(self, channel_id: str, message_id: str, body: JSON) -> JSON:
        self._get_channel(channel_id, body)
        message = self._server.messages.get(channel_id, {}).get(message_id)
        if message is None:
            raise Refused(404, 10008, "Unknown Message")
        return message

    def _own(self, channel_id: str, message_id: str) -> JSON:
        message = self._get(channel_id, message_id, {})
        if not message["author"].get("bot"):
            raise Refused(403, 50005, "Cannot edit a message authored by another user")
        return message

    def _edit(self, channel_id: str, message_id: str, body: JSON) -> JSON:
        message = self._own(channel_id, message_id)
        check_message(body, has_file=bool(message["attachments"]))
        message |= {name: body[name] for name in ("content", "components") if name in body}
        message["edited_timestamp"] = "2026-03-02T09:30:00.000000+00:00"
        self._server.gateway.dispatch("MESSAGE_UPDATE", message)
        return message

    def _delete(self, channel_id: str, message_id: str, body: JSON) -> None:
        message = self._get(channel_id, message_id, {})
        del self._server.messages[channel_id][message_id]
        self.deleted.add({"message": message})
        self._server.people.announce_deletion(message)

    def _react(self, channel_id: str, message_id: str, emoji: str, body: JSON) -> None:
        message = self._get(channel_id, message_id, {})
        if emoji.isascii():
            raise Refused(400, 10014, "Unknown Emoji")
        given = message.setdefault("reactions", [])
        if emoji not in [reaction["emoji"]["name"] for reaction in given]:
            counts = {"count": 1, "me": True, "me_burst": False, "burst_colors": []}
            detail = {"count_details": {"burst": 0, "normal": 1}}
            given.append({"emoji": {"id": None, "name": emoji}, **counts, **detail})
            self.reactions.add({"message": message, "emoji": emoji})

    def _open_thread(self, channel_id: str, message_id: str, body: JSON) -> JSON:
        channel = self._get_channel(channel_id, body)
        if channel["type"] not in (0, 5):
            raise Refused(400, 50024, "Cannot execute action on this channel type")
        if not self.has_threads:
            raise Refused(403, 50013, "Missing Permissions")
        self._get(channel_id, message_id, {})
        if not 1 <= len(body.get("name", "")) <= 100:
            raise invalid("name: Must be between 1 and 100 in length.")
        if message_id in self._server.channels:
            raise Refused(400, 160004, "A thread has already been created for this message")
        thread = self._server.make_channel(message_id, 11, body["name"], channel["guild_id"], channel_id)
        self._server.channels[message_id] = thread
        self._server.gateway.dispatch("THREAD_CREATE", thread)
        return thread

    # --- Interactions -------------------------------------------------------------------------------------

    def _acknowledge(
        self, interaction_id: str, token: str, body: JSON, query: Mapping[str, str]
    ) -> JSON | None:
        self._server.people.acknowledge(interaction_id, token, body)
        if query.get("with_response") not in ("true", "1"):
            return None
        return {"interaction": {"id": interaction_id, "type": 3, "response_message_loading": False}}

    def _follow_up(self, application_id: str, token: str, body: JSON) -> JSON:
        if application_id != self._server.application["id"] or not self._server.people.is_acknowledged(token):
            raise Refused(404, 10015, "Unknown Webhook")
        content = body.get("content", "")
        if not content.strip() or len(content) > 2000:
            raise Refused(400, 50006, "Cannot send an empty message")
        self.ephemeral.add({"text": content, "flags": body.get("flags", 0)})
        return {"id": self._server.next_id(), "content": content}
