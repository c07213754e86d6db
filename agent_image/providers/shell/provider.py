"""Runs the prompt as one bash script in the workspace, and streams what it prints."""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
import time
from pathlib import Path

from agent_image.providers.shell.bash import Bash
from agent_image.providers.shell.live import LiveOutput
from agent_image.runner.text import OutputTail, clip
from agent_image.runner.turn import Failure, Outcome, Turn, TurnEvents

ANSWER_CHARS = 16_000
DRAIN_S = 0.2  # after bash has ended, how long to read on from what it left running
_CALL_ID = "bash-1"


def workspace_folder() -> Path:
    """Return where the work is done: /workspace, or the current folder outside of a sandbox."""
    folder = Path(os.environ.get("SLIPWAY_WORKSPACE", "/workspace"))
    return folder if folder.is_dir() else Path.cwd()


class ShellProvider:
    """One script, one process group, one pair of tool events."""

    def __init__(self) -> None:
        self._bash: Bash | None = None
        self._is_interrupted = False

    async def run(self, turn: Turn, events: TurnEvents) -> Outcome:
        if not turn.prompt.strip():
            return Outcome(failure=Failure("input_invalid", "There is no command to run."), turns=0)
        await events.tool_called(_CALL_ID, "Bash", {"command": turn.prompt})
        started = time.monotonic()
        output = OutputTail()
        bash = await Bash.start(turn.prompt, turn.env, workspace_folder())
        self._bash = bash
        feeding = asyncio.create_task(_feed_messages(bash, events))
        try:
            if self._is_interrupted:
                bash.signal_group(signal.SIGKILL)
            code = await _read_output(bash, output, events)
        finally:
            feeding.cancel()
            bash.close()
        await events.tool_returned(
            _CALL_ID,
            output.text(),
            is_error=code != 0,
            duration_ms=round((time.monotonic() - started) * 1000),
            is_truncated=output.is_cut,
        )
        return _outcome(output.text().strip("\n"), code)

    async def interrupt(self, grace_s: float) -> None:
        """Interrupt the process group as Ctrl-C does; kill it when it does not listen."""
        self._is_interrupted = True
        if self._bash is not None:
            self._bash.signal_group(signal.SIGINT)
            await asyncio.sleep(grace_s)
            self._bash.signal_group(signal.SIGKILL)


def _outcome(answer: str, code: int) -> Outcome:
    answer = clip(answer, ANSWER_CHARS)[0]
    if code == 0:
        return Outcome(text=answer)
    ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return Outcome(text=answer, failure=Failure("command_failed", f"The command {ended}."))


async def _read_output(bash: Bash, output: OutputTail, events: TurnEvents) -> int:
    """Read until bash ends; what is left in the background and holds the output open gets a moment more."""
    live = LiveOutput(lambda text: events.tool_output(_CALL_ID, text))
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


async def _feed_messages(bash: Bash, events: TurnEvents) -> None:
    """Give follow-ups to the command's standard input, each as a line."""
    while True:
        message = await events.next_message()
        bash.write_line(message.text)
        await events.message_consumed(message)
