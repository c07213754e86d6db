"""Hearing what happens in the bot's rooms: /sync, asked again and again with the token of the answer before.

State: `since`, the token; `direct`, the rooms that somebody opened to be alone with the bot; `told`, the encrypted
rooms that were told so. A message is marked as read when it is kept.

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
from services.adapters.chat.matrix.outbound import BOT_MARK, MESSAGE, transaction_id
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

    def run(self) -> None:
        """Ask for what is new, again and again."""
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

    # --- Taking what came ----------------------------------------------------------------------------------

    def _take(self, answer: Mapping[str, Any], *, is_first: bool) -> None:
        """Keep what an answer holds, and last of all where to go on."""
        since = as_text(answer.get("next_batch"))
        if not since:
            raise away(may_have_arrived=True)
        self._note_direct(answer)
        rooms = as_object(answer.get("rooms"))
        for room_id, room in as_object(rooms.get("invite")).items():
            self._answer_invitation(room_id, as_objects(as_object(room.get("invite_state")).get("events")))
        for room_id in as_object(rooms.get("leave")):
            self._rooms.pop(room_id, None)
        # What was said before anybody listened is not for this bot to answer.
        for room_id, room in ({} if is_first else as_object(rooms.get("join"))).items():
            self._take_room(room_id, as_object(room))
        is_further = since != self._since
        self._since = since
        # With nothing new it is a sign of life: the homeserver answered.
        self._keep(Parsed(), with_state=is_further)

    def _keep(self, parsed: Parsed, *, with_state: bool = False) -> None:
        state = {"since": self._since, "direct": sorted(self._direct), "told": sorted(self._told)}
        self._inbox.keep(parsed, state if with_state else None)

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
            parsed = read_event(self._config, self._room(room_id), event)
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
