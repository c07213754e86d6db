"""The demo: one real task, its events as they happen, its answer, and where everything is."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import httpx

from deploy.local.console import Console
from deploy.local.failures import StartFailed

SHELL_PROMPT = """\
uname -sr
id
ls /
echo "hello from the sandbox" > /workspace/note.txt
cat /workspace/note.txt
"""
CLAUDE_PROMPT = "Run `uname -sr` with Bash and tell me in one sentence what machine you are on."
_WITHIN_S = 180.0
_SHOWN_LINES = 12


class Narrator:
    """Turns the events of one task into lines for a person."""

    def __init__(self, console: Console, task_id: str) -> None:
        self._console = console
        self._task_id = task_id
        self._submitted = time.monotonic()
        self._streamed: set[str] = set()
        self._is_finished = False

    def has_finished(self) -> bool:
        """Say whether the task's last event was told."""
        return self._is_finished

    def tell(self, event: Mapping[str, Any]) -> None:
        """Print one event, unless it belongs to another task or says nothing new."""
        if event.get("task_id") not in (None, self._task_id):
            return
        kind, content = str(event.get("type")), event.get("data") or {}
        if kind == "tool.output":
            self._streamed.add(str(content.get("call_id")))
            self._block(str(content.get("text", "")))
        elif kind not in {"text.delta", "reasoning.delta", "typing"}:
            self._line(event, kind, self._words(kind, content))
            if kind == "tool.returned" and str(content.get("call_id")) not in self._streamed:
                self._block(str(content.get("output", "")))
        if kind == "task.finished":
            self._is_finished = True

    def _line(self, event: Mapping[str, Any], kind: str, words: str) -> None:
        elapsed = f"+{time.monotonic() - self._submitted:5.2f} s"
        number = f"{event['seq']:>4}" if event.get("seq") is not None else "   ·"
        stamp = self._console.paint(f"{_clock(event.get('at'))} {elapsed} {number}", "2")
        self._console.say(f"  {stamp}  {self._console.paint(f'{kind:<16}', '36')} {words}".rstrip())

    def _block(self, text: str) -> None:
        lines = text.rstrip("\n").splitlines()
        for line in lines[:_SHOWN_LINES]:
            self._console.say(f"{'':<32}{self._console.paint('│', '2')} {line}")
        if len(lines) > _SHOWN_LINES:
            self._console.say(
                f"{'':<32}{self._console.paint('│', '2')} … {len(lines) - _SHOWN_LINES} lines more"
            )

    @staticmethod
    def _words(kind: str, content: Mapping[str, Any]) -> str:
        if kind == "tool.called":
            given = content.get("input") or {}
            command = given.get("command") if isinstance(given, dict) else None
            return f"{content.get('name', '')}: {command or json.dumps(given)}"
        if kind == "tool.returned":
            outcome = "failed" if content.get("is_error") else "ok"
            return f"{outcome}, {content.get('duration_ms', '?')} ms"
        if kind == "message.created":
            return f"{content.get('role', '')}: {_first_line(str(content.get('text', '')))}"
        return str(content.get("status") or content.get("state") or content.get("reason") or "")


def _first_line(text: str, width: int = 90) -> str:
    line = next(iter(text.strip().splitlines()), "")
    return line if len(line) <= width and line == text.strip() else f"{line[:width]} …"


def _clock(at: Any) -> str:
    try:
        return datetime.fromisoformat(str(at)).strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return "--:--:--.---"


def read_sse(lines: Iterator[str]) -> Iterator[tuple[str | None, str]]:
    """Yield (id, data) of each server-sent event; comments and other fields are passed over."""
    last_id: str | None = None
    parts: list[str] = []
    for line in lines:
        if not line:
            if parts:
                yield last_id, "\n".join(parts)
            parts = []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            parts.append(value)
        elif name == "id":
            last_id = value


def _watch(
    console: Console, client: httpx.Client, stack: Mapping[str, Any], workspace_id: str, narrator: Narrator
) -> None:
    """Follow the workspace's stream until the task has finished, going on from the cursor after a break."""
    url = f"{str(stack['realtime']).replace('ws', 'http', 1)}/v1/events"
    cursor = "0"
    deadline = time.monotonic() + _WITHIN_S
    while not narrator.has_finished():
        if time.monotonic() > deadline:
            raise StartFailed(f"the task did not finish within {_WITHIN_S:.0f} s")
        try:
            with client.stream(
                "GET", url, params={"stream": f"workspace:{workspace_id}"}, headers={"Last-Event-ID": cursor}
            ) as answer:
                _expect(answer, 200)
                for event_id, text in read_sse(answer.iter_lines()):
                    cursor = cursor if event_id is None else event_id
                    narrator.tell(json.loads(text))
                    if narrator.has_finished() or time.monotonic() > deadline:
                        break
        except httpx.TransportError as error:
            console.say(f"  the stream broke ({type(error).__name__}); going on after {cursor}")
        if not narrator.has_finished():
            time.sleep(0.2)


def _expect(answer: httpx.Response, status: int) -> None:
    if answer.status_code != status:
        answer.read()
        raise StartFailed(f"{answer.request.url} answered {answer.status_code}: {answer.text[:500]}")


def run_task(console: Console, stack: Mapping[str, Any], agent: str, prompt: str) -> bool:
    """Submit one task, show its events and its answer; return whether it succeeded. Raises: StartFailed."""
    headers = {"Authorization": f"Bearer {stack['token']}"}
    with httpx.Client(headers=headers, timeout=httpx.Timeout(10, read=30), trust_env=False) as client:
        submitted = client.post(
            f"{stack['api']}/v1/tasks",
            json={"agent_id": stack["agents"][agent], "prompt": prompt, "mode": "session"},
            headers={"Idempotency-Key": str(uuid.uuid4())},
        )
        _expect(submitted, 202)
        task = submitted.json()
        narrator = Narrator(console, task["id"])
        _watch(console, client, stack, task["workspace_id"], narrator)
        shown = client.get(f"{stack['api']}/v1/tasks/{task['id']}")
        _expect(shown, 200)
    return _show_answer(console, shown.json())


def _show_answer(console: Console, task: Mapping[str, Any]) -> bool:
    result, error = task.get("result") or {}, task.get("error") or {}
    is_succeeded = task.get("status") == "succeeded"
    console.say()
    console.heading(f"The answer ({task.get('status')})")
    for line in str(result.get("text") or error.get("message") or "").rstrip().splitlines():
        console.say(f"  {line}")
    return is_succeeded


def run_demo(console: Console, stack: Mapping[str, Any], *, has_claude: bool) -> bool:
    """Run the shell task, and a Claude task where there is a key; return whether all succeeded."""
    console.say()
    console.heading("A task for the shell agent: five commands in a container of its own")
    is_well = run_task(console, stack, "shell", SHELL_PROMPT)
    if has_claude:
        console.say()
        console.heading("A task for the Claude agent")
        is_well = run_task(console, stack, "claude", CLAUDE_PROMPT) and is_well
    return is_well


def show_doors(console: Console, stack: Mapping[str, Any], logs: str) -> None:
    """Say where everything is and how to sign in."""
    user = stack["user"]
    rows = (
        ("dashboard", f"{stack['api']}/"),
        ("admin", f"{stack['api']}/admin/"),
        ("API", f"{stack['api']}/v1   (description: {stack['api']}/v1/openapi.json)"),
        ("events", f"{stack['realtime']}/v1/stream"),
        ("sign in", f"{user['email']}   password {user['password']}"),
        ("API token", f"Authorization: Bearer {stack['token']}"),
        ("settings", f"{stack['settings_env']}   (edit, then `make up`)"),
        ("logs", f"{logs}/<process>.log"),
        ("stop", "make down"),
    )
    console.say()
    for name, value in rows:
        console.say(f"  {console.paint(f'{name:<10}', '1')} {value}")
