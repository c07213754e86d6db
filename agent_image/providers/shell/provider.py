"""Runs the prompt as one bash script in the workspace, and streams what it prints."""

from __future__ import annotations

import asyncio
import codecs
import time

from agent_image.runner.bash import Bash
from agent_image.runner.live import LiveOutput
from agent_image.runner.text import OutputTail, clip
from agent_image.runner.turn import Failure, FollowUp, Outcome, Turn, TurnEvents
from agent_image.runner.workspace import workspace_folder

ANSWER_CHARS = 16_000
DRAIN_S = 0.2  # after bash has ended, how long to read on from what it left running


class ShellProvider:
    """The prompt is the first script. A follow-up is a script of its own, run when those before it have ended.

    Standard input is empty: a program that would read it, such as `rg` without a path, does not wait for ever.
    """

    def __init__(self) -> None:
        self._bash: Bash | None = None
        self._is_interrupted = False

    async def run(self, turn: Turn, events: TurnEvents) -> Outcome:
        if not turn.prompt.strip():
            return Outcome(failure=Failure("input_invalid", "There is no command to run."), turns=0)
        answers, failure = [], None
        message: FollowUp | None = None
        number = 1
        while not self._is_interrupted:
            if message is not None:
                await events.message_consumed(message)
            script = message.text if message is not None else turn.prompt
            answer, ended = await self._run_script(f"bash-{number}", script, turn, events)
            answers.append(answer)
            failure = failure or ended
            message = await _waiting_message(events)
            if message is None:
                break
            number += 1
        return Outcome(
            text=clip("\n".join(filter(None, answers)), ANSWER_CHARS)[0], failure=failure, turns=number
        )

    async def interrupt(self, grace_s: float) -> None:
        """Interrupt the process group as Ctrl-C does; kill it when it does not listen."""
        self._is_interrupted = True
        if self._bash is not None:
            self._bash.interrupt()
            await asyncio.sleep(grace_s)
            self._bash.kill()

    async def _run_script(
        self, call_id: str, script: str, turn: Turn, events: TurnEvents
    ) -> tuple[str, Failure | None]:
        """Run one script as one tool call. Returns what it printed, and its failure if it was one."""
        await events.tool_called(call_id, "Bash", {"command": script})
        started = time.monotonic()
        output = OutputTail()
        self._bash = bash = await Bash.start(script, turn.env, workspace_folder())
        try:
            if self._is_interrupted:
                bash.kill()
            code = await _read_output(bash, output, call_id, events)
        finally:
            bash.close()
        await events.tool_returned(
            call_id,
            output.text(),
            is_error=code != 0,
            duration_ms=round((time.monotonic() - started) * 1000),
            is_truncated=output.is_cut,
        )
        return output.text().strip("\n"), _failure(code)


def _failure(code: int) -> Failure | None:
    if code == 0:
        return None
    ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return Failure("command_failed", f"The command {ended}.")


async def _waiting_message(events: TurnEvents) -> FollowUp | None:
    """Return the next follow-up if one has come already."""
    asking = asyncio.create_task(events.next_message())
    await asyncio.sleep(0)  # enough for what is there: the task runs before we go on
    if asking.done():
        return asking.result()
    asking.cancel()
    return None


async def _read_output(bash: Bash, output: OutputTail, call_id: str, events: TurnEvents) -> int:
    """Read until bash ends; what is left in the background and holds the output open gets a moment more."""
    live = LiveOutput(lambda text: events.tool_output(call_id, text))
    reading = asyncio.create_task(_read_to_end(bash, output, live))
    try:
        code = await bash.wait()
        await asyncio.wait({reading}, timeout=DRAIN_S)
        if reading.done():
            reading.result()
    finally:
        reading.cancel()
        live.flush()
    return code


async def _read_to_end(bash: Bash, output: OutputTail, live: LiveOutput) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while chunk := await bash.read():
        text = decoder.decode(chunk)
        output.add(text)
        live.add(text)
    output.add(decoder.decode(b"", final=True))
