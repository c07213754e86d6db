"""What people do on the local Discord server: they write, change, delete, use the command and press buttons."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx

from tests.fakes.discord_checks import Refused
from tests.fakes.serving import Journal

if TYPE_CHECKING:
    from tests.fakes.discord_server import FakeDiscord

JSON = dict[str, Any]
ACK_WITHIN_S = 3.0


class DiscordPeople:
    """People, and the interactions that wait for an answer; `answers` has each answer with its interaction."""

    def __init__(self, server: FakeDiscord) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[str, float]] = {}
        self._acknowledged: set[str] = set()
        self.answers = Journal()

    # --- Messages -----------------------------------------------------------------------------------------

    def write(self, channel_id: str, text: str, **fields: Any) -> JSON:
        """Write a message; `fields` are set on it."""
        message = self.made(channel_id, text, is_bot=False) | fields
        self.keep(message)
        self._server.gateway.dispatch("MESSAGE_CREATE", message)
        return message

    def change(self, message: JSON, text: str) -> JSON:
        """Change a message."""
        message |= {
            "content": text,
            "edited_timestamp": f"2026-03-02T09:30:{len(text) % 60:02d}.000000+00:00",
        }
        self._server.gateway.dispatch("MESSAGE_UPDATE", dict(message))
        return message

    def delete(self, message: JSON) -> None:
        """Delete a message."""
        self._server.messages[message["channel_id"]].pop(message["id"])
        self.announce_deletion(message)

    def announce_deletion(self, message: JSON) -> None:
        """Tell of a deletion as Discord does: not whose message it was."""
        told: JSON = {name: message[name] for name in ("id", "channel_id", "guild_id") if name in message}
        self._server.gateway.dispatch("MESSAGE_DELETE", told)

    def made(self, channel_id: str, text: str, *, is_bot: bool) -> JSON:
        """Make a message as the gateway shows it."""
        from tests.fakes.discord_server import BOB, BOT

        channel = self._server.channels[channel_id]
        named = [user for user in (BOT, BOB) if re.search(rf"<@!?{user['id']}>", text)]
        message: JSON = {
            "id": self._server.next_id(),
            "type": 0,
            "channel_id": channel_id,
            "author": BOT if is_bot else BOB,
            "content": text,
            "timestamp": "2026-03-02T09:30:00.000000+00:00",
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": named,
            "mention_roles": [],
            "attachments": [],
            "embeds": [],
            "components": [],
            "pinned": False,
            "flags": 0,
        }
        if channel.get("guild_id"):
            message |= {"guild_id": channel["guild_id"], "member": self._member(None)}
        return message

    def keep(self, message: JSON) -> None:
        """Keep a message in its channel."""
        self._server.messages.setdefault(message["channel_id"], {})[message["id"]] = message

    # --- Interactions -------------------------------------------------------------------------------------

    def command(self, channel_id: str, text: str, name: str = "ask") -> JSON:
        """Make the interaction of somebody who uses a command."""
        option = {"name": "text", "type": 3, "value": text}
        data = {"id": "1", "name": name, "type": 1, "options": [option]}
        return self._interaction(2, channel_id, {"data": data})

    def press(self, message: JSON, label: str) -> JSON:
        """Make the interaction of somebody who presses the button with this label."""
        buttons = [button for row in message["components"] for button in row["components"]]
        (button,) = [one for one in buttons if one["label"] == label]
        data = {"custom_id": button["custom_id"], "component_type": 2}
        return self._interaction(3, message["channel_id"], {"data": data, "message": message})

    def send(self, interaction: JSON) -> JSON:
        """Send an interaction to the application and wait for its answer. Raises: TimeoutError without one in time.

        It goes to the application's address if it has one, else over the gateway: never to both.
        """
        with self._lock:
            self._waiting[interaction["token"]] = (interaction["id"], time.monotonic())
        url = self._server.application["interactions_endpoint_url"]
        if url is None:
            self._server.gateway.dispatch("INTERACTION_CREATE", interaction)
        else:
            response = self.post_signed(url, interaction)
            assert response.status_code == 200, response.text
            self.acknowledge(interaction["id"], interaction["token"], response.json())
        found = self.answers.wait_for(1, lambda entry: entry["id"] == interaction["id"], ACK_WITHIN_S)
        return dict(found[0]["answer"])

    def acknowledge(self, interaction_id: str, token: str, answer: JSON) -> None:
        """Take the answer to an interaction, once and in time. Raises: Refused."""
        with self._lock:
            known_id, made_at = self._waiting.get(token, ("", 0.0))
            if known_id != interaction_id or time.monotonic() - made_at > ACK_WITHIN_S:
                raise Refused(404, 10062, "Unknown interaction")
            if token in self._acknowledged:
                raise Refused(400, 40060, "Interaction has already been acknowledged.")
            if answer.get("type") not in (4, 5, 6, 7):
                raise Refused(400, 50035, "Invalid Form Body: type")
            self._acknowledged.add(token)
        self.answers.add({"id": interaction_id, "answer": answer})

    def is_acknowledged(self, token: str) -> bool:
        """Say whether words may still be sent after an answer."""
        return token in self._acknowledged

    def sign(self, body: bytes, timestamp: int | None = None) -> dict[str, str]:
        """Make the headers with which Discord signs."""
        at = str(int(time.time()) if timestamp is None else timestamp)
        signature = self._server.signing_key.sign(at.encode() + body)
        return {
            "content-type": "application/json",
            "x-signature-ed25519": signature.hex(),
            "x-signature-timestamp": at,
        }

    def post_signed(self, url: str, body: JSON) -> httpx.Response:
        """Post a signed interaction."""
        raw = json.dumps(body).encode()
        return httpx.post(self.reached_at(url), content=raw, headers=self.sign(raw), timeout=10)

    def is_endpoint_sound(self, url: str) -> bool:
        """Try an address as Discord does: a ping must be answered, one with a wrong signature refused with 401."""
        if not url.startswith("https://"):
            return False
        raw = json.dumps({"type": 1, "id": "1", "application_id": self._server.application["id"]}).encode()
        at = self.reached_at(url)
        try:
            good = httpx.post(at, content=raw, headers=self.sign(raw), timeout=5)
            forged = httpx.post(at, content=raw, headers=self.sign(raw + b" "), timeout=5)
        except httpx.HTTPError:
            return False
        return good.status_code == 200 and good.json() == {"type": 1} and forged.status_code == 401

    def reached_at(self, url: str) -> str:
        """Return where an address is for this server; a test without certificates sets this."""
        return url

    def _interaction(self, kind: int, channel_id: str, fields: JSON) -> JSON:
        from tests.fakes.discord_server import BOB

        channel = self._server.channels[channel_id]
        made: JSON = {
            "id": self._server.next_id(),
            "application_id": self._server.application["id"],
            "type": kind,
            "token": f"aW50ZXJhY3Rpb246{uuid.uuid4().hex}{uuid.uuid4().hex * 4}",
            "version": 1,
            "channel_id": channel_id,
            "channel": {name: channel.get(name) for name in ("id", "type", "name", "parent_id")},
            "locale": "en-US",
            "app_permissions": "0",
            "entitlements": [],
            "authorizing_integration_owners": {},
            "context": 0,
            "attachment_size_limit": 10 * 1024**2,
            **fields,
        }
        if channel.get("guild_id"):
            return made | {"guild_id": channel["guild_id"], "member": self._member(BOB)}
        return made | {"user": BOB}

    def _member(self, user: JSON | None) -> JSON:
        joined = {"joined_at": "2026-01-01T00:00:00+00:00", "deaf": False, "mute": False, "flags": 0}
        return {"nick": None, "roles": [], "permissions": "0", **joined, **({"user": user} if user else {})}
