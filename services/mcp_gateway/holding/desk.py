"""Every tool call passes here: judged by the rules, and held, waited for and run once where a person must allow it.

Who waits only looks into the database; calls that were allowed are run by a loop of the desk, whoever waits for them.
So a call whose client or gateway went away meanwhile is run all the same, and its result is there for who asks next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.db import OperationalError
from mcp_types import CallToolResult

from services.domain.actors import Actor
from services.domain.approvals.deciders import may_allow_own
from services.domain.approvals.held import (
    Claim,
    Runnable,
    Standing,
    Wanted,
    all_tenants_runnable_calls,
    claim_call,
    finish_call,
    hand_over,
    hold_call,
    look_at,
    renew_claim,
)
from services.domain.approvals.models import HeldCall
from services.domain.approvals.rules import ToolUse, Verdict, judge
from services.domain.errors import SlipwayError
from services.domain.tasks.models import Task
from services.kit.environment import environment
from services.mcp_gateway.holding.clock import TurnClocks
from services.mcp_gateway.holding.rulebook import Rulebook
from services.mcp_gateway.holding.words import (
    WAIT_SERVER,
    WAIT_TOOL,
    denied_by_rule,
    failed,
    others_must_allow,
    words_of,
)
from services.mcp_gateway.sandbox_files import FILES
from services.mcp_gateway.threads import run_in_thread
from services.mcp_gateway.workspace_files import see_files

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_LOOK_S = 1.0
# The gateway that somebody waits at comes first; what nobody waits for is anybody's.
_ANYBODYS_AFTER_S = 2.0
_RENEW_S = 8.0
_KEEP_TRIES = 20
_STOP_WITHIN_S = 5.0

Report = Callable[[float, float | None, str | None], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call in the forms that are needed to judge and to hold it: `judged` by rules, `shown` to people.

    `paths` name the files of the workspace that it carries outside, of `most_file_bytes` in all.
    """

    judged: dict[str, Any] = field(repr=False)
    shown: dict[str, Any] = field(repr=False)
    target: str
    paths: tuple[str, ...] = ()
    most_file_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A call as it came. It is prepared only when something depends on it; None when it cannot be made at all."""

    server: str
    tool: str
    arguments: dict[str, Any] = field(repr=False)
    is_risky: bool
    prepare: Callable[[], Prepared | None]


class HeldRunner(Protocol):
    """Whoever serves tools: finds what a held call was about, and runs it later."""

    async def find_target(self, task: Task, server: str, tool: str) -> str:
        """Return a hash of what a call of this tool would do now; empty when there is no such tool."""
        ...

    async def run_held(self, task: Task, server: str, tool: str, claim: Claim) -> CallToolResult:
        """Make the call, without asking again whether it may be made."""
        ...


class HoldDesk:
    """The desk of one process."""

    def __init__(self) -> None:
        self._rulebook = Rulebook()
        self._clocks = TurnClocks()
        self._runners: dict[str, HeldRunner] = {}
        self._others: HeldRunner | None = None
        self._expected: set[uuid.UUID] = set()
        self._running: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    @property
    def clocks(self) -> TurnClocks:
        """Return the clocks of the turns that wait here."""
        return self._clocks

    def serve(self, runner: HeldRunner, server: str | None = None) -> None:
        """Know who runs the held calls of a server; without a name, of all servers that nobody else serves."""
        if server is None:
            self._others = runner
        else:
            self._runners[server] = runner

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Run what was allowed, for as long as the block runs."""
        self._wake = asyncio.Event()
        self._rulebook = Rulebook()
        looking = asyncio.create_task(self._look_forever())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait({looking})
            if self._running:
                _, left = await asyncio.wait(self._running.values(), timeout=_STOP_WITHIN_S)
                for task in left:
                    task.cancel()
                if left:
                    await asyncio.wait(left)

    async def instead_of(
        self, task: Task, asked: Asked, report: Report | None = None
    ) -> CallToolResult | None:
        """Return None for a call that may be made now, else what the agent gets instead of it.

        That is a refusal, or, of a call that is held: its result once a person allowed it, or how it stands.
        """
        try:
            return await self._judge(task, asked, report)
        except SlipwayError as error:
            return failed(f"{error.code}: {error.message}")
        except OperationalError:
            log.warning("%s.%s could not be judged", asked.server, asked.tool, exc_info=True)
            return failed("temporary: The platform is busy. Try again in a few seconds.")
        except RecursionError:
            return failed("invalid: The arguments are nested too deep.")

    async def refusal_for(self, person: Actor, asked: Asked) -> CallToolResult | None:
        """Return None for a call of a person's own program that may be made, else why not.

        Only what the organisation says of every agent and every chat binds people too. Nothing is held: there is no
        task that could wait, and who could allow the call alone has made it.
        """
        try:
            return await self._judge_person(person, asked)
        except OperationalError:
            log.warning("%s.%s could not be judged", asked.server, asked.tool, exc_info=True)
            return failed("temporary: The platform is busy. Try again in a few seconds.")
        except RecursionError:
            return failed("invalid: The arguments are nested too deep.")

    async def wait(
        self, task: Task, approval_id: uuid.UUID, within_s: float, report: Report | None = None
    ) -> Standing:
        """Wait until an approval of a task is settled, or the time is over, holding neither thread nor connection.

        While a person's word is all that is missing, the turn's clock stands still. Raises: ApprovalMissing.
        """
        pauses = _Pauses(asyncio.get_running_loop().time() + within_s, report)
        standing = await run_in_thread(look_at, task, approval_id)
        if standing.outcome == "pending":
            standing = await self._wait_for_a_person(task, standing, pauses)
        if standing.call_id is None:
            return standing
        self._expected.add(standing.call_id)
        try:
            while standing.outcome in ("allowed", "running") and not pauses.are_over:
                self._wake.set()
                await pauses.next("allowed; running")
                standing = await run_in_thread(look_at, task, approval_id)
        finally:
            self._expected.discard(standing.call_id)
        return standing

    async def result_of(self, task: Task, standing: Standing) -> CallToolResult:
        """Return what the agent gets of a held call: its result, or how it stands."""
        if standing.outcome == "done" and standing.call_id is not None:
            result = await run_in_thread(hand_over, task, standing.call_id)
            if result is not None:
                return CallToolResult.model_validate(result)
        return failed(words_of(standing))

    async def _wait_for_a_person(self, task: Task, standing: Standing, pauses: _Pauses) -> Standing:
        async with self._clocks.stopped(task, "approval", standing.approval_id) as stop:
            while standing.outcome == "pending" and not pauses.are_over:
                await stop.tick()
                await pauses.next("waiting for a person's approval")
                standing = await run_in_thread(look_at, task, standing.approval_id)
        return standing

    async def _judge(self, task: Task, asked: Asked, report: Report | None) -> CallToolResult | None:
        rules = await self._rulebook.rules_of(task.org_id)
        if not rules and not asked.is_risky:
            return None
        prepared = None if (asked.server, asked.tool) == (WAIT_SERVER, WAIT_TOOL) else asked.prepare()
        if prepared is None:
            # What is wrong with it is for the tool itself to say.
            return None
        has_chats = any(rule.chat_id for rule in rules)
        use = ToolUse(
            server=asked.server,
            tool=asked.tool,
            arguments=prepared.judged,
            agent_id=task.agent_id,
            chat_id=await self._rulebook.chat_of(task) if has_chats else None,
            is_risky=asked.is_risky,
        )
        verdict = judge(rules, use)
        if verdict.effect == "allow":
            return None
        if verdict.effect == "deny":
            return denied_by_rule(use.name)
        files = await see_files(task.sandbox_id, prepared.paths, prepared.most_file_bytes)
        wanted = Wanted(use, asked.arguments, prepared.shown, prepared.target, files)
        return await self._hold(task, wanted, verdict, report)

    async def _judge_person(self, person: Actor, asked: Asked) -> CallToolResult | None:
        rules = await self._rulebook.rules_of(person.org_id)
        prepared = asked.prepare() if rules else None
        if prepared is None:
            return None
        use = ToolUse(server=asked.server, tool=asked.tool, arguments=prepared.judged, agent_id=None)
        verdict = judge(rules, use)
        if verdict.effect == "deny":
            return denied_by_rule(use.name)
        if verdict.effect == "hold" and not may_allow_own(person, verdict.terms):
            return others_must_allow(use.name)
        return None

    async def _hold(
        self, task: Task, wanted: Wanted, verdict: Verdict, report: Report | None
    ) -> CallToolResult:
        held: HeldCall = await run_in_thread(hold_call, task, wanted, verdict)
        standing = await self.wait(task, held.approval_id, environment().mcp_hold_wait_s, report)
        return await self.result_of(task, standing)

    async def _look_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _LOOK_S)
            self._wake.clear()
            try:
                for call in await run_in_thread(all_tenants_runnable_calls):
                    if call.needs_sandbox and not FILES.reaches(call.task.sandbox_id):
                        continue
                    if call.call_id in self._expected or call.age_s >= _ANYBODYS_AFTER_S:
                        self._begin(call)
            except OperationalError as error:
                log.warning("allowed calls could not be looked for: %s", error)
            except Exception:
                log.exception("allowed calls could not be looked for")

    def _begin(self, call: Runnable) -> None:
        if call.call_id not in self._running:
            running = self._running[call.call_id] = asyncio.create_task(self._run_call(call))
            running.add_done_callback(lambda _: self._running.pop(call.call_id, None))

    async def _run_call(self, call: Runnable) -> None:
        runner = self._runners.get(call.server) or self._others
        if runner is None:
            return
        try:
            target = await runner.find_target(call.task, call.server, call.tool)
            claim = await run_in_thread(claim_call, call.org_id, call.call_id, target)
        except Exception:
            log.exception("held call %s could not be begun; the next round will try", call.call_id)
            return
        if claim is None:
            return
        renewing = asyncio.create_task(_renew_forever(claim))
        try:
            try:
                result = await runner.run_held(call.task, call.server, call.tool, claim)
            except Exception:
                log.exception("held call %s failed", call.call_id)
                result = failed(
                    "internal: The tool failed. It may have been done: look before you call again."
                )
            await _keep(claim, result)
        finally:
            renewing.cancel()


class _Pauses:
    """Pauses that grow, and end with the time; each reports that one still waits."""

    def __init__(self, until: float, report: Report | None) -> None:
        self._until, self._report = until, report
        self._pause_s = _FIRST_PAUSE_S
        self._count = 0

    @property
    def are_over(self) -> bool:
        """Say whether the time is over."""
        return asyncio.get_running_loop().time() >= self._until

    async def next(self, message: str) -> None:
        """Pause for a while."""
        left_s = self._until - asyncio.get_running_loop().time()
        if self._report is not None:
            self._count += 1
            await self._report(float(self._count), None, message)
        await asyncio.sleep(max(0.0, min(self._pause_s, left_s)))
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)


async def _renew_forever(claim: Claim) -> None:
    while True:
        await asyncio.sleep(_RENEW_S)
        with contextlib.suppress(OperationalError):
            await run_in_thread(renew_claim, claim)


async def _keep(claim: Claim, result: CallToolResult) -> None:
    """Keep a result, also when the database is away for a moment: the call is done and cannot be done again."""
    kept = result.model_dump(mode="json", by_alias=True)
    for _ in range(_KEEP_TRIES):
        try:
            await run_in_thread(finish_call, claim, kept)
        except OperationalError as error:
            log.warning("the result of held call %s is not kept yet: %s", claim.call_id, error)
            await asyncio.sleep(_LONGEST_PAUSE_S)
        else:
            return


DESK = HoldDesk()
"""Of this process."""
