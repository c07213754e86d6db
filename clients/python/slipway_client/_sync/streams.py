"""Streams that go on where they were cut, and tasks that are followed to their end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from typing import Any

import httpx

from slipway_client._sync.resources import Resources
from slipway_client.errors import (
    ApiError,
    ConnectionFailed,
    Limited,
    ServerFailed,
    StreamLost,
    TaskNotSucceeded,
    error_of,
)
from slipway_client.events import RESYNC, Event, EventReader
from slipway_client.types import Task

# The server says something every 15 s, if only a comment.
SILENCE_S = 45.0
PATIENCE_S = 300.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 10.0

OVER = frozenset({"succeeded", "failed", "cancelled", "expired"})


class Events:
    """The events of one stream: durable ones each once, in order, over any number of connections.

    `cursor` is the number of the last durable one that was given; iterating again goes on behind it.
    """

    def __init__(self, resources: Resources, stream: str, after: int | None, patience_s: float) -> None:
        self._transport = resources.transport
        self.stream = stream
        self.cursor = after
        self._patience_s = patience_s

    def __iter__(self) -> Generator[Event, None]:
        """Follow the stream. Raises: ApiError when it may not be had, StreamLost when it stays away."""
        tried, heard_at = 0, time.monotonic()
        while True:
            try:
                connection = self._connection()
                try:
                    for event in connection:
                        tried, heard_at = 0, time.monotonic()
                        yield event
                finally:
                    connection.close()
                lost: Exception = ConnectionFailed("The stream ended.")
            except (httpx.TransportError, ConnectionFailed, Limited, ServerFailed) as error:
                lost = error
            if time.monotonic() - heard_at > self._patience_s:
                raise StreamLost(f"The stream {self.stream} stays away: {lost}", self.cursor) from lost
            time.sleep(_wait_s(tried, lost))
            tried += 1

    def _connection(self) -> Generator[Event, None]:
        """Yield what one connection brings, until it ends or a number is missing."""
        base = self._transport.realtime_url()
        params: dict[str, Any] = {"stream": self.stream}
        if self.cursor is not None:
            params["after"] = self.cursor
        reader = EventReader()
        with self._transport.http.stream(
            "GET",
            f"{base}/v1/events",
            params=params,
            headers={"Accept": "text/event-stream", "Cache-Control": "no-store"},
            timeout=httpx.Timeout(SILENCE_S, connect=10.0),
        ) as answer:
            if not answer.is_success:
                raise error_of(answer.status_code, answer.headers, answer.read())
            for chunk in answer.iter_bytes():
                for raw in reader.feed(chunk):
                    event = Event.of(raw, self.stream)
                    if event.type == RESYNC:
                        self.cursor = int(event.data["oldest"]) - 1
                    elif event.seq is not None:
                        if self.cursor is not None and event.seq <= self.cursor:
                            continue
                        if self.cursor is not None and event.seq > self.cursor + 1:
                            # Never with a server that keeps its promise; asking again from the cursor heals it.
                            return
                        self.cursor = event.seq
                    yield event


class TaskRun:
    """A submitted task: go through its events while it works, then ask for its `result`.

    Leaving it does not end the task; `cancel` does.
    """

    def __init__(self, resources: Resources, task: Task, after: int | None, patience_s: float) -> None:
        self._resources = resources
        self.task = task
        self.events = Events(resources, f"workspace:{task['workspace_id']}", after, patience_s)
        self._is_over = False

    def __iter__(self) -> Generator[Event, None]:
        """Yield the task's own events until it has ended. Raises: ApiError, StreamLost."""
        if self._is_over:
            return
        events = iter(self.events)
        try:
            for event in events:
                if event.type == RESYNC and self._has_ended():
                    return
                if event.task_id != self.task["id"]:
                    continue
                if event.type == "task.finished":
                    self._is_over = True
                yield event
                if self._is_over:
                    return
        finally:
            events.close()

    def result(self, *, check: bool = True) -> Task:
        """Wait for the end and return the task. Raises: TaskNotSucceeded if it is to `check`, ApiError, StreamLost."""
        for _ in self:
            pass
        self.task = self._resources.tasks.get(self.task["id"])
        if check and self.task["status"] != "succeeded":
            raise TaskNotSucceeded(self.task)
        return self.task

    def cancel(self) -> Task:
        """Ask the task to stop. Raises: Conflict when it has ended."""
        self.task = self._resources.tasks.cancel(self.task["id"])
        return self.task

    def _has_ended(self) -> bool:
        self.task = self._resources.tasks.get(self.task["id"])
        self._is_over = self.task["status"] in OVER
        return self._is_over


class Slipway(Resources):
    """A Slipway server: its resources, its streams, and `run`, which is submit, stream and result in one.

    `url` and `token` come from SLIPWAY_URL and SLIPWAY_TOKEN when they are not given.
    """

    def __enter__(self) -> Slipway:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self.transport.close()

    def stream(self, stream: str, *, after: int | None = None, patience_s: float = PATIENCE_S) -> Events:
        """Return the events of a stream: `workspace:<id>`, `user:<id>` or `org:<id>`.

        `after` is a cursor; None is everything that is kept. A stream that stays away longer than `patience_s` is lost.
        """
        return Events(self, stream, after, patience_s)

    def start(
        self,
        prompt: str,
        *,
        agent_id: str | None = None,
        workspace_id: str | None = None,
        idempotency_key: str | None = None,
        patience_s: float = PATIENCE_S,
        **order: Any,
    ) -> TaskRun:
        """Submit a task and return it to be followed. `order` is what `tasks.create` takes besides.

        Raises: ApiError, ConnectionFailed.
        """
        after = None
        if workspace_id is not None and idempotency_key is None:
            # What was before this task in its workspace is not looked through.
            after = (self.workspaces.get_events(workspace_id, limit=1))["head"]
        task = self.tasks.create(
            prompt=prompt,
            agent_id=agent_id,
            workspace_id=workspace_id,
            idempotency_key=idempotency_key,
            **order,
        )
        return TaskRun(self, task, after, patience_s)

    def follow(self, task_id: str, *, after: int | None = None, patience_s: float = PATIENCE_S) -> TaskRun:
        """Return a task that there is, to be followed from its beginning, or from a cursor of its workspace's stream.

        Raises: ApiError, ConnectionFailed.
        """
        return TaskRun(self, self.tasks.get(task_id), after, patience_s)

    def run(
        self,
        prompt: str,
        *,
        agent_id: str | None = None,
        workspace_id: str | None = None,
        on_event: Callable[[Event], object] | None = None,
        check: bool = True,
        **order: Any,
    ) -> Task:
        """Submit a task, follow it to its end and return it, with its `result`. `order` is what `start` takes besides.

        Raises: TaskNotSucceeded when asked to `check`, ApiError, ConnectionFailed.
        """
        running = self.start(prompt, agent_id=agent_id, workspace_id=workspace_id, **order)
        for event in running:
            if on_event is not None:
                on_event(event)
        return running.result(check=check)


def _wait_s(tried: int, lost: Exception) -> float:
    asked = lost.retry_after_s if isinstance(lost, ApiError) else None
    chosen = random.uniform(0.5, 1.0) * min(FIRST_WAIT_S * 2.0**tried, LONGEST_WAIT_S)  # noqa: S311
    return max(chosen, asked or 0.0)
