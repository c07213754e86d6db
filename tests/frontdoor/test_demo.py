"""What the demo prints, and how it reads the stream."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.local import demo
from deploy.local.console import Console


def _event(seq: int | None, kind: str, **content: Any) -> dict[str, Any]:
    return {"seq": seq, "type": kind, "at": "2026-11-21T04:00:00.123456Z", "task_id": "t1", "data": content}


def test_sse_is_read_with_ids_and_without_comments() -> None:
    lines = iter([": keep-alive", "", "id: 1", "data: {", "data: }", "", "data: x", ""])
    assert list(demo.read_sse(lines)) == [("1", "{\n}"), ("1", "x")]


def test_streamed_output_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = demo.Narrator(Console(), "t1")
    narrator.tell(_event(1, "tool.called", call_id="c", name="Bash", input={"command": "uname -sr"}))
    narrator.tell(_event(None, "tool.output", call_id="c", text="Linux 6\n"))
    narrator.tell(_event(2, "tool.returned", call_id="c", is_error=False, output="Linux 6\n", duration_ms=3))
    said = capsys.readouterr().out
    assert "Bash: uname -sr" in said
    assert said.count("Linux 6") == 1
    assert "ok, 3 ms" in said


def test_output_that_was_not_streamed_is_shown_from_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = demo.Narrator(Console(), "t1")
    output = "".join(f"line {number}\n" for number in range(20))
    narrator.tell(_event(2, "tool.returned", call_id="c", is_error=True, output=output, duration_ms=3))
    said = capsys.readouterr().out
    assert "failed" in said
    assert "8 lines more" in said


def test_the_end_of_another_task_does_not_end_the_demo() -> None:
    narrator = demo.Narrator(Console(is_quiet=True), "t1")
    narrator.tell({**_event(1, "task.finished", status="succeeded"), "task_id": "t2"})
    assert not narrator.has_finished()
    narrator.tell(_event(2, "task.finished", status="succeeded"))
    assert narrator.has_finished()


def test_unknown_events_are_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    demo.Narrator(Console(), "t1").tell({"type": "sandbox.changed", "data": {"state": "busy"}})
    assert "sandbox.changed" in capsys.readouterr().out
