"""Long-polling: register a queue, ask for its events, delete it. Durable events only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.domain.actors import Actor
from services.domain.errors import Conflict, CursorInvalid, Invalid, Missing
from services.realtime.access import Visitor
from services.realtime.endpoint import Endpoint
from services.realtime.entry import Entry
from services.realtime.feed import Subscription
from services.realtime.hub import first_number
from services.realtime.messages import LARGEST_NUMBER, fields_of, parse_number
from services.realtime.outlet import Bell
from services.realtime.queues import KeptQueue, QueueMissing, QueueState

_MOST_STREAMS = 100
_MOST_EVENTS = 500
_TRIES = 5


class QueueBusy(Conflict):
    """Two requests ask for the events of one queue."""

    code = "event_queue_busy"


class Registration(BaseModel):
    """`after` maps a stream to the last number that the client has of it; without one it gets all that is kept."""

    model_config = ConfigDict(extra="forbid", strict=True)

    streams: list[str] = Field(min_length=1, max_length=_MOST_STREAMS)
    after: dict[str, int] = Field(default_factory=dict)


class RegisterEndpoint(Endpoint):
    """`POST /realtime/register`."""

    methods = ("POST",)

    async def answer(self) -> None:
        """Check every stream and cursor, and make the queue."""
        visitor = await self.admit()
        try:
            wanted = Registration.model_validate(self.json_content())
        except ValidationError as error:
            raise Invalid("The registration is not valid.", fields=fields_of(error)) from error
        if not wanted.after.keys() <= set(wanted.streams):
            raise Invalid("The registration is not valid.", fields={"after": "names another stream"})
        cursors: dict[str, int] = {}
        too_old: dict[str, int] = {}
        for stream in wanted.streams:
            cursors[stream], is_too_old = await self._start_of(visitor, stream, wanted.after.get(stream))
            if is_too_old:
                too_old[stream] = cursors[stream] + 1
        queue_id = await self.node.queues.create(visitor.actor, cursors)
        pace = self.node.pace
        registered = {
            "queue_id": queue_id,
            "last_event_id": 0,
            "heartbeat_s": pace.poll_heartbeat_s,
            "idle_timeout_s": pace.poll_idle_timeout_s,
        }
        await self.send_json(200, registered | ({"resync": too_old} if too_old else {}))

    async def _start_of(self, visitor: Visitor, stream: str, after: int | None) -> tuple[int, bool]:
        if after is not None and not 0 <= after <= LARGEST_NUMBER:
            raise CursorInvalid("The cursor is not a number of this stream.")
        kept = await self.node.rows.look(visitor.actor, stream)
        return first_number(after, kept)


class PollEndpoint(Endpoint):
    """`GET` and `DELETE /realtime/events`."""

    transport = "longpoll"
    methods = ("GET", "DELETE")

    async def answer(self) -> None:
        """Give the queue's next events as soon as there are any, or delete it."""
        visitor = await self.admit()
        queue_id = self.arrival.one("queue_id") or ""
        if self.scope["method"] == "DELETE":
            await self.node.queues.delete(visitor.actor, queue_id)
            await self.send_json(200, {"deleted": True})
            return
        last_id = parse_number(self.arrival.one("last_event_id") or "")
        is_patient = self.arrival.one("dont_block") not in ("", "1", "true")
        events = await self._events(visitor.actor, queue_id, last_id, is_patient=is_patient)
        self.node.counts.delivered[self.transport] += len(events)
        await self.start(200, [(b"content-type", b"application/json"), (b"cache-control", b"no-store")])
        given = ",".join(f'{{"id":{number},"event":{entry.text}}}' for number, entry in events)
        await self.write(f'{{"events":[{given}]}}'.encode(), is_last=True)

    async def _events(
        self, actor: Actor, queue_id: str, last_id: int, *, is_patient: bool
    ) -> list[tuple[int, Entry]]:
        """Listen first, then look: an event in between rings the bell. An empty list is the heartbeat."""
        kept = await self.node.queues.get(actor, queue_id)
        kept.state.model_copy(deep=True).acknowledge(last_id)
        bell, listening = Bell(), []
        deadline = asyncio.get_running_loop().time() + self.node.pace.poll_heartbeat_s
        try:
            for stream in kept.state.cursors if is_patient else ():
                listening.append(await self._listen(actor, stream, bell))
            while True:
                bell.rung.clear()
                if bell.has_ended:
                    raise _missing()
                events = await self._take(actor, queue_id, last_id)
                if events or not is_patient:
                    return events
                try:
                    async with asyncio.timeout_at(deadline):
                        await bell.rung.wait()
                except TimeoutError:
                    return []
        finally:
            for subscription in listening:
                self.node.hub.close(subscription)

    async def _listen(self, actor: Actor, stream: str, bell: Bell) -> Subscription:
        try:
            subscription, _ = await self.node.hub.open(actor, stream, bell)
        except Missing as error:
            # What was the caller's when it was registered was deleted since.
            raise _missing() from error
        self.node.hub.follow(subscription)
        return subscription

    async def _take(self, actor: Actor, queue_id: str, last_id: int) -> list[tuple[int, Entry]]:
        """Acknowledge, and number what is next; again from the start when another request changed the queue."""
        for _ in range(_TRIES):
            kept = await self.node.queues.get(actor, queue_id)
            state = kept.state.model_copy(deep=True)
            state.acknowledge(last_id)
            pages = await self._pages(actor, state)
            events = [(number, entry.shown_to(actor)) for number, entry in _numbered(state, pages)]
            if await self._is_stored(queue_id, kept, state):
                return events
        raise QueueBusy("Another request is asking for this queue's events.")

    async def _is_stored(self, queue_id: str, kept: KeptQueue, state: QueueState) -> bool:
        return state == kept.state or await self.node.queues.replace(queue_id, kept, state)

    async def _pages(self, actor: Actor, state: QueueState) -> Mapping[str, list[Entry]]:
        """Read what is next of each stream. Raises: QueueMissing when what comes next is not kept any more."""
        pages: dict[str, list[Entry]] = {}
        for stream, seq in state.cursors.items():
            pages[stream] = page = await self.node.rows.page(actor.org_id, stream, seq)
            if page and page[0].seq != seq + 1:
                # The queue was not asked for too long: registering anew says from where the stream can be had.
                raise _missing()
        return pages


def _missing() -> QueueMissing:
    return QueueMissing("There is no such queue. Register a new one.")


def _numbered(state: QueueState, pages: Mapping[str, list[Entry]]) -> list[tuple[int, Entry]]:
    """Return what was given out and not acknowledged, the same again; else number what is new, stream by stream."""
    if not state.runs:
        left = _MOST_EVENTS
        for stream, entries in pages.items():
            first = entries[0].seq if entries else None
            if first is not None and left > 0:
                state.give(stream, first, min(len(entries), left))
                left -= min(len(entries), left)
    events: list[tuple[int, Entry]] = []
    for run in state.runs:
        by_seq: dict[Any, Entry] = {entry.seq: entry for entry in pages.get(run.stream, [])}
        for index in range(run.count):
            entry = by_seq.get(run.first_seq + index)
            if entry is not None:
                events.append((run.first_id + index, entry))
    return events
