"""Hearing what happens in the bot's rooms: /sync, asked again and again with the token of the answer before.

State: `since`, the token; `direct`, the rooms that somebody opened to be alone with the bot; `told`, the encrypted
rooms that were told that nothing is read there; `waiting`, messages whose key is not there yet. A message is marked as
read when it is kept. What other devices wrote to ours is taken before the token that is behind it is kept.

Source: https://spec.matrix.org/v1.11/client-server-api/#syncing
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

from services.adapters.chat.matrix.client import POLL_MS, Conversation, Homeserver, path
from services.adapters.chat.matrix.config import MatrixConfig
from services.adapters.chat.matrix.encryption import ENCRYPTED, Encryption
from services.adapters.chat.matrix.failures import away
from services.adapters.chat.matrix.inbound import (
    MEMBER,
    Room,
    after_invitation,
    as_object,
    as_objects,
    as_text,
    changes_room,
    read_event,
)
from services.adapters.chat.matrix.outbound import BOT_MARK, MESSAGE, post, transaction_id
from services.adapters.chat.matrix.unread import Unread
from services.domain.errors import Permanent, PlatformRefused, Temporary
from services.domain.ports.chat import Parsed
from services.domain.ports.chat_abilities import Inbox

_MAX_EVENTS = 50
_GAP_PAGES, _GAP_PAGE = 10, 100
_MAX_KNOWN_ROOMS = 500
_LOOK_S = 1.0
_CANNOT_READ = (
    "This room is encrypted, and I cannot read here. Please write to me in a room without encryption."
)
NO_KEY = "no_key"
_NOT_READ = "A message here cannot be read: its key has not come. Please send it again."
_UNINVITED = "This bot does not follow invitations from there."


def listen(homeserver: Homeserver, config: MatrixConfig, inbox: Inbox) -> None:
    """Hear what comes until told to stop. Raises: PlatformThrottled, PlatformAway, PlatformRefused."""
    with asyncio.Runner() as runner:
        talk = homeserver.open(config)
        runner.run(talk.__aenter__())
        try:
            _Listening(runner, talk, inbox).run()
        finally:
            runner.run(talk.__aexit__())


class _Listening:
    """One listener. The inbox is only spoken to outside of the event loop: it waits for the database."""

    def __init__(self, runner: asyncio.Runner, talk: Conversation, inbox: Inbox) -> None:
        self._runner, self._talk, self._inbox = runner, talk, inbox
        self._config = talk.config
        self._rooms: dict[str, Room] = {}
        state = inbox.load_state()
        self._since = as_text(state.get("since"))
        self._direct = {as_text(room_id) for room_id in state.get("direct") or ()}
        self._told = {as_text(room_id) for room_id in state.get("told") or ()}
        self._unread = Unread.restored(state.get("waiting"))
        self._encryption: Encryption | None = None

    def run(self) -> None:
        """Ask for what is new, again and again."""
        self._begin_encryption()
        while not self._inbox.is_stopping():
            is_first = not self._since
            answer = self._ask(self._sync(is_first=is_first))
            if answer is not None:
                self._take(answer, is_first=is_first)

    # --- Asking --------------------------------------------------------------------------------------------

    async def _sync(self, *, is_first: bool) -> dict[str, Any]:
        wanted = {
            "presence": {"types": []},
            "account_data": {"types": ["m.direct"]},
            "room": {
                "timeline": {"limit": 1 if is_first else _MAX_EVENTS},
                "state": {"lazy_load_members": True, "types": [MEMBER]},
                "ephemeral": {"types": []},
                "account_data": {"types": []},
            },
        }
        asked: dict[str, str | int] = {"filter": json.dumps(wanted), "timeout": 0 if is_first else POLL_MS}
        if not is_first:
            asked["since"] = self._since
        return await self._talk.get(path("sync"), **asked)

    def _ask(self, question: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any] | None:
        """Wait for an answer; None when told to stop meanwhile."""
        task = self._runner.get_loop().create_task(question)
        while True:
            done, _ = self._runner.run(asyncio.wait({task}, timeout=_LOOK_S))
            if done:
                return task.result()
            if self._inbox.is_stopping():
                task.cancel()
                self._runner.run(asyncio.wait({task}))
                return None

    def _do(self, call: Coroutine[Any, Any, dict[str, Any]]) -> bool:
        """Do what nothing hangs on; returns whether it worked."""
        with suppress(Temporary, Permanent):
            self._runner.run(call)
            return True
        return False

    # --- Encryption ----------------------------------------------------------------------------------------

    def _begin_encryption(self) -> None:
        """Make our device known, so that people's clients encrypt for it. Without it the other rooms work as ever."""
        if self._config.drawer is None:
            return
        encryption = Encryption(self._talk, self._config.drawer)
        try:
            self._runner.run(encryption.begin())
        except PlatformRefused:
            self._keep(Parsed(ignored="encryption_unavailable"))
            return
        self._encryption = encryption
        # Whoever listened before may have taken their keys and died.
        self._read_late(self._unread.sessions())
        if self._unread.is_changed:
            self._keep(Parsed(), with_state=True)

    def _take_keys(self, answer: Mapping[str, Any], *, is_first: bool) -> set[str]:
        """Take what concerns encryption; returns the sessions whose keys came."""
        if self._encryption is None:
            return set()
        if is_first:
            self._runner.run(self._encryption.note_gap())
        lists = as_object(answer.get("device_lists"))
        changed = [as_text(one) for name in ("changed", "left") for one in lists.get(name) or ()]
        if changed:
            self._runner.run(self._encryption.note_changes(changed))
        events = as_objects(as_object(answer.get("to_device")).get("events"))
        came = self._runner.run(self._encryption.take_to_device(events))
        left = answer.get("device_one_time_keys_count")
        if isinstance(left, dict):
            there = left.get("signed_curve25519", 0)
            self._runner.run(self._encryption.top_up(there if isinstance(there, int) else 0))
        return came

    def _read(self, room_id: str, event: dict[str, Any]) -> Parsed | None:
        """Read an event, decrypted where it is encrypted."""
        room, content = self._room(room_id), as_object(event.get("content"))
        is_sealed = event.get("type") == ENCRYPTED and "state_key" not in event and bool(content)
        if self._encryption is None or not is_sealed or event.get("sender") == self._config.bot_id:
            return read_event(self._config, room, event)
        try:
            clear = self._runner.run(self._encryption.decrypt(room_id, event | {"content": content}))
        except (KeyError, TypeError, ValueError):
            return Parsed(ignored="not_genuine")
        if clear is None:
            self._unread.add(as_text(content.get("session_id")), room_id, as_text(event.get("event_id")))
            return Parsed(ignored=NO_KEY)
        # The homeserver checks who may delete what, and of this it knew nothing.
        if clear["type"] == "m.room.redaction" or "state_key" in clear:
            return Parsed(ignored="not_genuine")
        return read_event(self._config, room, clear)

    def _read_late(self, came: set[str]) -> None:
        """Read the messages whose key came after them; say so where a key does not come."""
        for session_id, room_id, event_id in self._unread.of(came):
            try:
                event = self._runner.run(self._talk.get(path("rooms", room_id, "event", event_id)))
                parsed = self._read(room_id, event) or Parsed()
            except PlatformRefused:
                parsed = Parsed(ignored="gone")
            if parsed.ignored != NO_KEY:
                self._keep(parsed)
                self._unread.remove(session_id, event_id)
        for session_id, room_id in self._unread.overdue():
            content = {"msgtype": "m.notice", "body": _NOT_READ, "m.mentions": {}, BOT_MARK: True}
            with suppress(Temporary, Permanent):
                key = transaction_id(f"no key {session_id}")
                self._runner.run(post(self._talk, room_id, content, key))

    # --- Taking what came ----------------------------------------------------------------------------------

    def _take(self, answer: Mapping[str, Any], *, is_first: bool) -> None:
        """Keep what an answer holds, and last of all where to go on."""
        since = as_text(answer.get("next_batch"))
        if not since:
            raise away(may_have_arrived=True)
        self._note_direct(answer)
        came = self._take_keys(answer, is_first=is_first)
        rooms = as_object(answer.get("rooms"))
        for room_id, room in as_object(rooms.get("invite")).items():
            self._answer_invitation(room_id, as_objects(as_object(room.get("invite_state")).get("events")))
        for room_id in as_object(rooms.get("leave")):
            self._rooms.pop(room_id, None)
        # What was said before anybody listened is not for this bot to answer.
        for room_id, room in ({} if is_first else as_object(rooms.get("join"))).items():
            self._take_room(room_id, as_object(room))
        self._read_late(came)
        is_further = since != self._since or self._unread.is_changed
        self._since = since
        # With nothing new it is a sign of life: the homeserver answered.
        self._keep(Parsed(), with_state=is_further)

    def _keep(self, parsed: Parsed, *, with_state: bool = False) -> None:
        if not with_state:
            self._inbox.keep(parsed)
            return
        state = {
            "since": self._since,
            "direct": sorted(self._direct),
            "told": sorted(self._told),
            "waiting": self._unread.state(),
        }
        self._inbox.keep(parsed, state)

    def _take_room(self, room_id: str, room: Mapping[str, Any]) -> None:
        timeline = as_object(room.get("timeline"))
        events = as_objects(timeline.get("events"))
        is_new = any(
            event.get("type") == MEMBER and event.get("state_key") == self._config.bot_id
            for event in (*as_objects(as_object(room.get("state")).get("events")), *events)
        )
        if timeline.get("limited") is True and not is_new:
            events = [*self._fill_gap(room_id, as_text(timeline.get("prev_batch"))), *events]
        last = ""
        for event in after_invitation(self._config, events):
            if changes_room(event):
                self._rooms.pop(room_id, None)
            parsed = self._read(room_id, event)
            if parsed is None:
                continue
            self._keep(parsed)
            last = as_text(event.get("event_id")) if parsed.messages else last
            if parsed.ignored == "encrypted_room":
                self._tell_encrypted(room_id)
        if last:
            self._do(self._talk.post(path("rooms", room_id, "receipt", "m.read", last), {}))

    def _fill_gap(self, room_id: str, at: str) -> list[dict[str, Any]]:
        """Return what lies between the last answer and this one's timeline, the oldest first."""
        found: list[dict[str, Any]] = []
        for _ in range(_GAP_PAGES):
            if not at:
                return found[::-1]
            asked = {"dir": "b", "from": at, "to": self._since}
            page = self._runner.run(
                self._talk.get(path("rooms", room_id, "messages"), limit=_GAP_PAGE, **asked)
            )
            events = as_objects(page.get("chunk"))
            found += events
            at = as_text(page.get("end")) if events else ""
        self._keep(Parsed(ignored="too_many_at_once"))
        return found[::-1]

    def _room(self, room_id: str) -> Room:
        """Return what is known of a room, asked for once until something there changes."""
        if room_id not in self._rooms:
            if len(self._rooms) >= _MAX_KNOWN_ROOMS:
                self._rooms.clear()
            self._rooms[room_id] = self._runner.run(self._look_at(room_id))
        return self._rooms[room_id]

    async def _look_at(self, room_id: str) -> Room:
        try:
            answer = await self._talk.get(path("rooms", room_id, "joined_members"))
            members = {
                user_id: as_text(as_object(member).get("display_name"))
                for user_id, member in as_object(answer.get("joined")).items()
            }
            name = ""
            with suppress(PlatformRefused):
                found = await self._talk.get(path("rooms", room_id, "state", "m.room.name", ""))
                name = as_text(found.get("name"))
        except PlatformRefused:
            # The bot was put out meanwhile; what was said before is kept all the same.
            return Room(room_id)
        return Room(room_id, name, members, is_direct=room_id in self._direct)

    # --- Rooms ---------------------------------------------------------------------------------------------

    def _note_direct(self, answer: Mapping[str, Any]) -> None:
        for event in as_objects(as_object(answer.get("account_data")).get("events")):
            if event.get("type") == "m.direct":
                for rooms in as_object(event.get("content")).values():
                    self._direct |= {as_text(room_id) for room_id in rooms if isinstance(rooms, list)}

    def _answer_invitation(self, room_id: str, events: list[dict[str, Any]]) -> None:
        """Join where the link's policy says so, else say no; either is recorded."""
        own = [event for event in events if event.get("state_key") == self._config.bot_id]
        inviter = as_text(own[-1].get("sender")) if own else ""
        if not self._config.is_invited_by(inviter):
            self._do(self._talk.post(path("rooms", room_id, "leave"), {"reason": _UNINVITED}))
            self._keep(Parsed(ignored="invitation_declined"))
            return
        if as_object(own[-1].get("content")).get("is_direct") is True:
            self._direct.add(room_id)
        if not self._do(self._talk.post(path("join", room_id), {})):
            self._keep(Parsed(ignored="invitation_failed"))

    def _tell_encrypted(self, room_id: str) -> None:
        """Say once, in plain, that nothing is read here."""
        if room_id in self._told:
            return
        self._told.add(room_id)
        key = transaction_id(f"encrypted {room_id}")
        content = {"msgtype": "m.notice", "body": _CANNOT_READ, "m.mentions": {}, BOT_MARK: True}
        self._do(self._talk.put(path("rooms", room_id, "send", MESSAGE, key), content))
