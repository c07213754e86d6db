"""The runner itself: takes turns from the link, one at a time, and remembers which it has ended."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent_image.runner.channels import Channels
from agent_image.runner.commands import Commands
from agent_image.runner.egress import DEFAULT_EGRESS_PORT, Egress
from agent_image.runner.forwarder import DEFAULT_PORT, Forwarder
from agent_image.runner.greeting import DEFAULT_SOCKET, Greeting
from agent_image.runner.journal import Journal
from agent_image.runner.link import SILENCE_S, Link
from agent_image.runner.processes import Kept
from agent_image.runner.turn import FollowUp, Provider, TurnInvalid, parse_turn
from agent_image.runner.work import StopReason, TurnChannel, TurnWork

MAX_FINISHED = 50
FLUSH_S = 2.0


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Where the gateway is, and where this runs.

    `owns_process_space` says that every other process belongs to the sandbox, so that what a turn leaves
    behind can be ended by a signal to all of them.
    """

    socket_path: str = DEFAULT_SOCKET
    forward_port: int = DEFAULT_PORT
    egress_port: int = DEFAULT_EGRESS_PORT
    owns_process_space: bool = False
    silence_s: float = SILENCE_S

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> RunnerSettings:
        return cls(
            socket_path=environment.get("SLIPWAY_SOCKET", DEFAULT_SOCKET),
            forward_port=int(environment.get("SLIPWAY_FORWARD_PORT", DEFAULT_PORT)),
            egress_port=int(environment.get("SLIPWAY_EGRESS_PORT", DEFAULT_EGRESS_PORT)),
            owns_process_space=environment.get("SLIPWAY_OWNS_PROCESS_SPACE") == "1",
        )


class Runner:
    """One for each sandbox. It runs until `stop`."""

    def __init__(
        self,
        settings: RunnerSettings,
        open_provider: Callable[[str], Provider],
        *,
        journal: Journal | None = None,
        greeting: Greeting | None = None,
    ) -> None:
        self._settings = settings
        self._open_provider = open_provider
        self.journal = journal or Journal(greeting.journal_id if greeting is not None else None)
        self.link = Link(
            settings.socket_path, self.journal, self, silence_s=settings.silence_s, greeting=greeting
        )
        self._forwarder = Forwarder(settings.socket_path, settings.forward_port)
        self._work: TurnWork | None = None
        self._working: asyncio.Task[None] | None = None
        self._finished: deque[str] = deque(maxlen=MAX_FINISHED)
        self._egress = Egress(settings.socket_path, settings.egress_port)
        self._kept = Kept(self._egress.environment)
        self._tidying = asyncio.Lock()
        self._commands = Commands(self.link, self.journal, self._kept, self._tidy_up)
        self._channels = Channels(settings.socket_path, self._kept, self._tidy_up)

    @property
    def turn_at_work(self) -> str | None:
        return self._work.turn.id if self._work else None

    @property
    def finished_turns(self) -> list[str]:
        return list(self._finished)

    async def run(self) -> None:
        """Keep the link until cancelled."""
        await self.link.run()

    async def stop(self, flush_s: float = FLUSH_S) -> None:
        """End the turn at work, the commands and the channels, and wait a little for the gateway to store their end."""
        if self._work is not None and self._working is not None:
            self._work.stop(StopReason.SANDBOX_STOPPED)
            await asyncio.wait({self._working})
        await self._channels.stop()
        await self._commands.stop()
        await self.link.flush(flush_s)
        await self._forwarder.close()
        await self._egress.close()

    def take(self, frame: dict[str, Any]) -> None:
        """Take a frame of the gateway; a repeat, or one for a turn that is over, is ignored."""
        if frame.get("op") == "open":
            self._channels.take(frame)
            return
        if frame.get("op") in ("command.start", "command.cancel"):
            self._commands.take(frame)
            return
        turn_id = frame.get("turn")
        if not isinstance(turn_id, str):
            return
        if frame.get("op") == "turn":
            self._take_turn(turn_id, frame)
        elif self._work is not None and self._work.turn.id == turn_id:
            self._take_for_turn(self._work, frame)

    def _take_turn(self, turn_id: str, frame: dict[str, Any]) -> None:
        if turn_id == self.turn_at_work or turn_id in self._finished:
            return
        if self._work is not None:
            self._refuse(turn_id, "another turn is at work in this sandbox")
            return
        try:
            turn = parse_turn(frame)
        except TurnInvalid as exc:
            self._refuse(turn_id, str(exc))
            return
        channel = TurnChannel(turn, self.link, self.journal, self._forwarder.open)
        self._work = TurnWork(turn, channel, self._open_provider)
        self._working = asyncio.get_running_loop().create_task(self._run_turn(self._work))

    def _take_for_turn(self, work: TurnWork, frame: dict[str, Any]) -> None:
        if frame.get("op") == "cancel":
            expired = frame.get("reason") == "expired"
            work.stop(StopReason.EXPIRED if expired else StopReason.CANCELLED)
        elif frame.get("op") == "extend":
            timeout_s = frame.get("timeout_s")
            if isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool):
                work.extend(timeout_s)
        elif isinstance(message_id := frame.get("id"), str) and isinstance(message := frame.get("text"), str):
            work.channel.put_message(FollowUp(message_id, message))

    async def _run_turn(self, work: TurnWork) -> None:
        try:
            async with self._tidying:
                pass  # what the turn before left behind is being ended: nothing of this one may be among it
            work.turn = await self._egress.equip(work.turn)
            await work.run()
        finally:
            self._finished.append(work.turn.id)
            self._work = None
            await self._tidy_up()

    async def _tidy_up(self) -> None:
        """Between turns, end all processes that belong to no command and no terminal."""
        if not self._settings.owns_process_space:
            return
        async with self._tidying:
            if self._work is None:
                if not await self._kept.end_strays():
                    self._commands.lose_all()
                print("runner: idle", file=sys.stderr, flush=True)

    def _refuse(self, turn_id: str, message: str) -> None:
        self._finished.append(turn_id)
        payload = {
            "status": "failed",
            "text": "",
            "error": {"code": "input_invalid", "message": message},
            "usage": None,
            "turns": 0,
            "tool_calls": 0,
        }
        self.link.send_event(turn_id, "turn.done", payload)
