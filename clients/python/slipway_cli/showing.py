"""A task while it works, as a person sees it: what is said on standard output, what happens on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from slipway_cli.session import plain
from slipway_client import Event, LiveTexts

_LONGEST = 160


class TaskView:
    """Shows the events of a task. What tools print is dim; answers are plain, so that they can be piped on."""

    def __init__(self) -> None:
        self._texts = LiveTexts()
        self._out = Console(highlight=False, emoji=False, markup=False, soft_wrap=True)
        self._notes = Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)
        self._is_open = False
        self.has_shown_answer = False
        self.has_shown_output = False

    def show(self, event: Event) -> None:
        """Show one event."""
        new = plain(self._texts.add(event))
        if new and event.type != "reasoning.delta":
            self._say(new, is_answer=event.type in ("text.delta", "message.created"))
        if event.type == "message.created":
            self.end_line()
        if note := note_of(event):
            self.end_line()
            self._notes.print(Text(plain(note), style=_STYLES.get(event.type, "dim")))

    def end_line(self) -> None:
        """Begin a new line where something stands on this one."""
        if self._is_open:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._is_open = False

    def show_result(self, text: str) -> None:
        """Show what a task gave, unless that was seen already: some agents only print, and their answer is that."""
        is_seen = self.has_shown_answer or (
            self.has_shown_output and sys.stdout.isatty() and sys.stderr.isatty()
        )
        self.end_line()
        if text and not is_seen:
            self._say(plain(text), is_answer=True)
        self.end_line()

    def _say(self, text: str, *, is_answer: bool) -> None:
        if is_answer:
            self._out.print(Text(text), end="")
            self.has_shown_answer = True
        else:
            self._notes.print(Text(text, style="dim"), end="")
            self.has_shown_output = True
        sys.stdout.flush()
        self._is_open = not text.endswith("\n")


def note_of(event: Event) -> str:
    """Return an event in one line; empty for what is shown as text, or says nothing to people."""
    data = event.data
    match event.type:
        case "task.queued":
            return "queued"
        case "task.started":
            return "at work"
        case "tool.called":
            return f"› {data.get('name', '')} {_short(data.get('input'))}"
        case "tool.returned" if data.get("is_error"):
            return "› the tool failed"
        case "task.waiting":
            return f"waits for a person: {data.get('reason', '')}"
        case "question.asked":
            return f"asks: {data.get('text', '')}"
        case "approval.requested":
            return f"wants to be allowed: {data.get('kind', '')} {_short(data.get('subject'))}"
        case "egress.refused":
            return (
                f"was not let out to {data.get('host', '')}:{data.get('port', '')} ({data.get('reason', '')})"
            )
        case "task.finished" if error := data.get("error"):
            return f"{data.get('status', '')}: {error.get('message', '')} ({error.get('code', '')})"
        case "task.finished":
            return str(data.get("status", ""))
    return ""


def line_of(event: Event) -> str:
    """Return any event in one line, for logs."""
    note = note_of(event) or _short(event.data)
    note = plain(note)
    return f"{event.at[:19].replace('T', ' ')}  {event.seq or '':>6}  {event.type:<20} {note}"


_STYLES = {
    "task.waiting": "yellow",
    "question.asked": "yellow",
    "approval.requested": "yellow",
    "egress.refused": "red",
}


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and len(value) == 1:
        value = next(iter(value.values()))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=dict)
    text = plain(" ".join(text.split()))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
