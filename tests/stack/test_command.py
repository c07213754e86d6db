"""The command `slipway` against the running product: a task's output while it works, and its answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack.running import RunningStack

pytestmark = [pytest.mark.stack, pytest.mark.engine]

CLIENT = Path(__file__).parents[2] / "clients" / "python"


def test_run_shows_output_while_the_task_works_and_then_its_answer(stack: RunningStack):
    # The script goes on only once its first word was seen outside.
    script = "echo first; until [ -e seen ]; do sleep 0.1; done; echo last"
    process = subprocess.Popen(
        [sys.executable, "-m", "slipway_cli", "run", "--agent", "shell", script],
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(CLIENT),
            "PYTHONUNBUFFERED": "1",
            "SLIPWAY_URL": stack.api,
            "SLIPWAY_TOKEN": stack.token,
        },
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stderr is not None
        shown = ""
        while shown.strip() != "first":
            shown = process.stderr.readline()
            assert shown, "it ended before anything was seen"
        task = stack.http.get("/v1/tasks", params={"limit": 1}).json()["items"][0]
        path = f"/v1/workspaces/{task['workspace_id']}/files/content"
        assert stack.http.put(path, params={"path": "seen"}, content=b"").status_code == 200
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == "first\nlast\n"
