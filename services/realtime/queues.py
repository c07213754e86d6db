"""Long-poll queues: kept in Redis, so that any node serves any of them. They hold cursors, never events.

The events of a queue have numbers of the queue's own, which rise over all its streams. What a number means is
remembered until the client has acknowledged it, so that a lost answer is given again, the same.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.domain.actors import Actor
from services.domain.errors import CursorInvalid, Invalid, Temporary
from services.kit.tokens import hash_token, make_token
from services.realtime.livelog import LIVE_LOG_ERRORS

_TIMEOUT_S = 2.0
_REPLACE_IF_UNCHANGED = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


class QueueMissing(Invalid):
    """Alike for a queue that never was, that has expired, and that is somebody else's."""

    code = "bad_event_queue_id"


class Run(BaseModel):
    """Consecutive events of one stream that were given out under consecutive numbers."""

    first_id: int
    stream: str
    first_seq: int
    count: int


class QueueState(BaseModel):
    """Up to `acked` the client has everything, and `cursors` says where that is; `runs` is what it may have."""

    org_id: uuid.UUID
    user_id: uuid.UUID | None
    cursors: dict[str, int]
    acked: int = 0
    runs: list[Run] = Field(default_factory=list)

    @property
    def last_id(self) -> int:
        """Return the highest number given out."""
        return self.runs[-1].first_id + self.runs[-1].count - 1 if self.runs else self.acked

    def acknowledge(self, last_id: int) -> None:
        """Note that the client has everything up to a number. Raises: CursorInvalid."""
        if not self.acked <= last_id <= self.last_id:
            raise CursorInvalid(
                "This number was not given out, or is acknowledged already.", last=self.last_id
            )
        left: list[Run] = []
        for run in self.runs:
            done = min(max(last_id - run.first_id + 1, 0), run.count)
            if done:
                self.cursors[run.stream] = run.first_seq + done - 1
            if done < run.count:
                rest = Run(
                    first_id=run.first_id + done,
                    stream=run.stream,
                    first_seq=run.first_seq + done,
                    count=run.count - done,
                )
                left.append(rest)
        self.runs, self.acked = left, last_id

    def give(self, stream: str, first_seq: int, count: int) -> Run:
        """Number consecutive events of a stream."""
        run = Run(first_id=self.last_id + 1, stream=stream, first_seq=first_seq, count=count)
        self.runs.append(run)
        return run


@dataclass(frozen=True, slots=True)
class KeptQueue:
    """A queue's state, and the text under which it was found, for replacing it only if it is still that."""

    state: QueueState
    text: str


class QueueStore:
    """Queues in Redis. Their ids are unguessable, and stored hashed."""

    def __init__(self, url: str, *, ttl_s: int) -> None:
        self._ttl_s = ttl_s
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=16,
            timeout=_TIMEOUT_S,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)

    async def create(self, actor: Actor, cursors: dict[str, int]) -> str:
        """Make a queue and return its id. Raises: Temporary."""
        queue_id = make_token("swq_")
        state = QueueState(org_id=actor.org_id, user_id=actor.user_id, cursors=cursors)
        await self._ask(self._redis.set(_key(queue_id), state.model_dump_json(), ex=self._ttl_s))
        return queue_id

    async def get(self, actor: Actor, queue_id: str) -> KeptQueue:
        """Return the actor's queue, and keep it alive. Raises: QueueMissing, Temporary."""
        text = await self._ask(self._redis.getex(_key(queue_id), ex=self._ttl_s))
        if text is not None:
            state = QueueState.model_validate_json(text)
            if (state.org_id, state.user_id) == (actor.org_id, actor.user_id):
                return KeptQueue(state, text)
        raise QueueMissing("There is no such queue. Register a new one.")

    async def replace(self, queue_id: str, kept: KeptQueue, state: QueueState) -> bool:
        """Store a new state; False when another request was faster. Raises: Temporary."""
        text = state.model_dump_json()
        done = await self._ask(
            self._redis.eval(_REPLACE_IF_UNCHANGED, 1, _key(queue_id), kept.text, text, str(self._ttl_s))
        )
        return bool(done)

    async def delete(self, actor: Actor, queue_id: str) -> None:
        """Delete the actor's queue. Raises: QueueMissing, Temporary."""
        await self.get(actor, queue_id)
        await self._ask(self._redis.delete(_key(queue_id)))

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _ask(self, question: Any) -> Any:
        try:
            return await question
        except LIVE_LOG_ERRORS as error:
            raise Temporary("Queues cannot be used at the moment. Try again.") from error


def _key(queue_id: str) -> str:
    return f"slipway:queue:{hash_token(queue_id)}"
