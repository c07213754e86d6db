"""The proxy's desk for one sandbox: what it may reach, what it was refused, what it has used."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from services.domain.egress.policy import Policy
from services.domain.egress.refusals import HOST_REFUSED, METHOD_REFUSED, Refusal
from services.domain.egress.rules import Grant
from services.kit.addresses import find_address, is_public
from services.mcp_gateway.egress.brokering import Broker, Vault
from services.mcp_gateway.egress.failures import (
    ADDRESS_REFUSED,
    NOT_AT_WORK,
    TOLD,
    TOO_MANY,
    TOO_MUCH,
    Refused,
)
from services.mcp_gateway.egress.injection import PLACEHOLDER, Headers
from services.mcp_gateway.egress.outside import Outside
from services.mcp_gateway.egress.streams import CountedStream, Stream
from services.mcp_gateway.egress.traffic import Traffic
from services.mcp_gateway.threads import run_in_thread

log = logging.getLogger(__name__)

FRESH_S = 1.0
"""How old a policy may be that allows. One that refuses is read again first: somebody may just have allowed it."""
READS_AT_ONCE, READS_A_SECOND = 30.0, 10.0
DIALS_AT_ONCE = 4
TOLD_AGAIN_S = 60.0
MAX_TOLD = 100
MAX_METHOD_CHARS = 20
OTHERS = ("(other hosts)", 0, "", "too_many_hosts")

FindPolicy = Callable[[uuid.UUID], Policy | None]
RecordRefusals = Callable[[Policy, Sequence[Refusal]], None]
Key = tuple[str, int, str, str]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sandbox may have at once, and within one task."""

    connections: int = 64
    head_s: float = 15.0
    idle_s: float = 300.0
    connection_s: float = 3600.0
    sent_bytes: int = 4 * 1024**3
    received_bytes: int = 32 * 1024**3
    hold_s: float = 60.0
    look_s: float = 1.0


@dataclass(eq=False)
class Open:
    """A connection that is open, what it is to, and the task of the loop that serves it."""

    serving: asyncio.Task[None]
    place: tuple[str, int] | None = None


@dataclass
class _Count:
    """How often something was refused, and what of it is told already."""

    total: int = 0
    told: int = 0
    told_at: float = 0.0


@dataclass
class _Work:
    """What belongs to one piece of work, and starts anew with the next."""

    policy: Policy
    refused: dict[Key, _Count] = field(default_factory=dict)
    sent: int = 0
    received: int = 0


class Desk:
    """One for each sandbox, for as long as its socket is open."""

    def __init__(
        self,
        sandbox_id: uuid.UUID,
        outside: Outside,
        limits: Limits,
        traffic: Traffic,
        *,
        find_policy: FindPolicy,
        record: RecordRefusals,
        has_room: Callable[[], bool],
        vault: Vault,
    ) -> None:
        self.limits = limits
        self.broker = Broker(vault, hold_s=limits.hold_s, look_s=limits.look_s)
        self.open: set[Open] = set()
        self._sandbox_id = sandbox_id
        self._outside = outside
        self._traffic = traffic
        self._find_policy = find_policy
        self._record = record
        self._has_room = has_room
        self._turned_away = 0
        self._work: _Work | None = None
        self._over: list[_Work] = []
        self._read_at = float("-inf")
        self._reads = READS_AT_ONCE
        self._reads_at = time.monotonic()
        self._reading = asyncio.Lock()
        self._dialling = asyncio.Semaphore(DIALS_AT_ONCE)

    def enter(self) -> Open:
        """Take a connection in. Raises: Refused when there are too many."""
        if len(self.open) >= self.limits.connections or not self._has_room():
            raise Refused(TOO_MANY)
        serving = asyncio.current_task()
        assert serving is not None  # noqa: S101 (a connection is served by a task)
        entered = Open(serving)
        self.open.add(entered)
        return entered

    @contextlib.contextmanager
    def turning_away(self) -> Iterator[bool]:
        """Say whether one more connection may stay until it has heard that there are too many."""
        is_bearable = self._turned_away < self.limits.connections and self._has_room()
        self._turned_away += is_bearable
        try:
            yield is_bearable
        finally:
            self._turned_away -= is_bearable

    async def find_grant(self, host: str, port: int, method: str | None = None) -> Grant:
        """Return what is allowed at a host, which must include the method where one is given. Raises: Refused."""
        policy = await self._policy(time.monotonic() - FRESH_S)
        grant = policy.find_grant(host, port) if policy else None
        if grant is None or (method is not None and not grant.allows(method)):
            policy = await self._policy(time.monotonic())
            grant = policy.find_grant(host, port) if policy else None
        if policy is None:
            raise Refused(NOT_AT_WORK)
        if grant is None:
            address = find_address(host)
            is_inside = address is not None and not is_public(address)
            raise Refused(ADDRESS_REFUSED if is_inside else HOST_REFUSED)
        if method is not None and not grant.allows(method):
            raise Refused(METHOD_REFUSED)
        return grant

    async def policy_for(self, headers: Headers, target: bytes) -> Policy:
        """Return the policy by which a request was just allowed. Raises: Refused when nobody is at work any more.

        A placeholder that it does not know may be one of a turn that has just begun: it is read again then.
        """
        policy = await self._policy(time.monotonic() - FRESH_S)
        known = {credential.placeholder.encode() for credential in policy.credentials} if policy else set()
        texts = [target, *(value for _, value in headers)]
        if any(found not in known for text in texts for found in PLACEHOLDER.findall(text)):
            policy = await self._policy(time.monotonic())
        if policy is None:
            raise Refused(NOT_AT_WORK)
        return policy

    async def connect(self, host: str, port: int) -> Stream:
        """Connect to a host that is allowed; what passes is counted. Raises: Refused."""
        async with self._dialling:
            return CountedStream(await self._outside.connect(host, port), self._count_bytes)

    async def note_refusal(self, host: str, port: int, method: str, reason: str) -> None:
        """Count a refusal, and tell the owner of one that is new at once."""
        work = self._work
        if work is None or reason not in TOLD:
            return
        key = (host, port, method[:MAX_METHOD_CHARS], reason)
        if key not in work.refused and len(work.refused) >= MAX_TOLD:
            key = OTHERS
        count = work.refused.setdefault(key, _Count())
        count.total += 1
        if count.told == 0:
            await self._tell(work, {key: count})

    async def look_after(self) -> None:
        """End what is no longer allowed, and tell how often the rest was refused: each at most once a minute."""
        if self.open or (self._work is not None and _untold(self._work)):
            policy = await self._policy(time.monotonic(), is_own=True)
            for entered in list(self.open):
                if entered.place is not None and (
                    policy is None or policy.find_grant(*entered.place) is None
                ):
                    entered.serving.cancel()
        over, self._over = self._over, []
        for work in over:
            await self._tell_rest(work, time.monotonic())
        if self._work is not None:
            await self._tell_rest(self._work, time.monotonic() - TOLD_AGAIN_S)

    async def close(self) -> None:
        """End all connections, and tell what was not told yet."""
        for entered in list(self.open):
            entered.serving.cancel()
        for work in [*self._over, *([self._work] if self._work else [])]:
            await self._tell_rest(work, time.monotonic())

    async def _policy(self, not_before: float, *, is_own: bool = False) -> Policy | None:
        """Return the policy, read after a moment; of those who wait for one reading, all get it.

        A sandbox that asks for too many readings gets what was read last. `is_own`: it is not the sandbox that asks.
        """
        async with self._reading:
            if self._read_at < not_before and (is_own or self._may_read()):
                begun = time.monotonic()
                found = await run_in_thread(self._find_policy, self._sandbox_id)
                self._read_at = begun
                self._take(found)
            return self._work.policy if self._work else None

    def _take(self, policy: Policy | None) -> None:
        work = self._work
        if work is not None and policy is not None and _whose(work.policy) == _whose(policy):
            work.policy = policy
            return
        if work is not None and _untold(work):
            self._over.append(work)
        self._work = _Work(policy) if policy is not None else None

    def _may_read(self) -> bool:
        moment = time.monotonic()
        self._reads = min(READS_AT_ONCE, self._reads + (moment - self._reads_at) * READS_A_SECOND)
        self._reads_at = moment
        if self._reads < 1:
            return False
        self._reads -= 1
        return True

    def _count_bytes(self, sent: int, received: int) -> None:
        work = self._work
        if work is None:
            raise Refused(NOT_AT_WORK)
        work.sent += sent
        work.received += received
        self._traffic.add((work.policy.org_id, work.policy.workspace_id), sent, received)
        if work.sent > self.limits.sent_bytes or work.received > self.limits.received_bytes:
            raise Refused(TOO_MUCH)

    async def _tell_rest(self, work: _Work, told_before: float) -> None:
        rest = {key: count for key, count in _untold(work).items() if count.told_at <= told_before}
        if rest:
            await self._tell(work, rest)

    async def _tell(self, work: _Work, counts: dict[Key, _Count]) -> None:
        refusals = [Refusal(*key, count=count.total) for key, count in counts.items()]
        for count in counts.values():
            count.told, count.told_at = count.total, time.monotonic()
        try:
            await run_in_thread(self._record, work.policy, refusals)
        except Exception:
            # The refusal stands all the same; it is told with the next round.
            log.exception("refusals of sandbox %s were not recorded", self._sandbox_id)
            for count in counts.values():
                count.told = min(count.told, count.total - 1)


def _untold(work: _Work) -> dict[Key, _Count]:
    return {key: count for key, count in work.refused.items() if count.total > count.told}


def _whose(policy: Policy) -> tuple[uuid.UUID, uuid.UUID | None]:
    return policy.workspace_id, policy.task_id
