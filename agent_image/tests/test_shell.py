"""The shell provider: a person's script, run in the workspace, its output streamed and answered."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest

from agent_image.providers.shell.provider import ANSWER_CHARS
from agent_image.runner.text import MAX_OUTPUT_CHARS
from tests.fakes.gateway_link import FakeGateway

pytestmark = pytest.mark.usefixtures("runner")


async def test_a_script_is_one_tool_call_and_its_output_is_the_answer(gateway: FakeGateway) -> None:
    turn = await gateway.send_turn("shell", "echo one\nX=two\necho $X >&2")
    done = await gateway.wait_done(turn)
    assert (done["status"], done["text"], done["tool_calls"]) == ("succeeded", "one\ntwo", 1)
    called, returned = gateway.of_turn(turn, "tool.called")[0], gateway.of_turn(turn, "tool.returned")[0]
    assert called["data"] == {
        "call_id": "bash-1",
        "name": "Bash",
        "input": {"command": "echo one\nX=two\necho $X >&2"},
    }
    assert returned["data"]["output"] == "one\ntwo\n"
    assert returned["data"]["is_error"] is False
    assert gateway.live_text("tool.output") == "one\ntwo\n"


async def test_output_is_live_while_the_command_still_runs(gateway: FakeGateway, workspace: Path) -> None:
    turn = await gateway.send_turn("shell", "echo early; until [ -e go ]; do sleep 0.01; done; echo late")
    await gateway.wait_until(lambda: gateway.live_text("tool.output") == "early\n", "early output")
    assert not gateway.of_turn(turn, "turn.done")
    (workspace / "go").touch()
    assert (await gateway.wait_done(turn))["text"] == "early\nlate"


async def test_a_failing_command_fails_the_turn_and_keeps_its_output(gateway: FakeGateway) -> None:
    done = await gateway.run_turn("shell", "echo partly; exit 3")
    assert (done["status"], done["text"]) == ("failed", "partly")
    assert done["error"] == {"code": "command_failed", "message": "The command ended with exit code 3."}


async def test_errors_read_as_in_a_shell_of_ones_own(gateway: FakeGateway) -> None:
    done = await gateway.run_turn("shell", "true\nno_such_program\n")
    assert "bash: line 2: no_such_program: command not found" in done["text"]
    assert done["error"]["message"] == "The command ended with exit code 127."


async def test_files_stay_in_the_workspace(gateway: FakeGateway, workspace: Path) -> None:
    await gateway.run_turn("shell", "echo kept > note.txt; cd /; X=1")
    assert (await gateway.run_turn("shell", 'cat note.txt; echo "[$X]"; pwd'))[
        "text"
    ] == f"kept\n[]\n{workspace}"


async def test_secrets_are_in_the_environment_of_the_command_only(gateway: FakeGateway) -> None:
    done = await gateway.run_turn("shell", "echo $GRANTED", env={"GRANTED": "s3cret"})
    assert done["text"] == "s3cret"
    script = 'echo "[$GRANTED]"; tr "\\0" "\\n" < /proc/$PPID/environ'
    assert "s3cret" not in (await gateway.run_turn("shell", script))["text"]


async def test_a_follow_up_is_a_script_of_its_own_after_the_first(
    gateway: FakeGateway, workspace: Path
) -> None:
    turn = await gateway.send_turn("shell", "until [ -e go ]; do sleep 0.01; done; echo one")
    for number in (2, 3):
        await gateway.send(
            {"op": "message", "turn": turn, "id": f"m{number}", "text": f"echo script {number}"}
        )
    await gateway.send({"op": "ping"})
    await gateway.wait_until(lambda: gateway.pongs > 0, "the messages to be heard")
    assert not gateway.of_turn(turn, "message.consumed")
    (workspace / "go").touch()
    done = await gateway.wait_done(turn)
    assert (done["status"], done["text"]) == ("succeeded", "one\nscript 2\nscript 3")
    assert [e["data"]["id"] for e in gateway.of_turn(turn, "message.consumed")] == ["m2", "m3"]
    assert [e["data"]["call_id"] for e in gateway.of_turn(turn, "tool.called")] == [
        "bash-1",
        "bash-2",
        "bash-3",
    ]


async def test_the_first_script_that_fails_decides_and_the_others_still_run(
    gateway: FakeGateway, workspace: Path
) -> None:
    turn = await gateway.send_turn("shell", "until [ -e go ]; do sleep 0.01; done; exit 3")
    await gateway.send({"op": "message", "turn": turn, "id": "m1", "text": "echo after"})
    await gateway.send({"op": "ping"})
    await gateway.wait_until(lambda: gateway.pongs > 0, "the message to be heard")
    (workspace / "go").touch()
    done = await gateway.wait_done(turn)
    assert (done["status"], done["text"]) == ("failed", "after")
    assert done["error"]["message"] == "The command ended with exit code 3."


async def test_a_program_that_reads_its_input_finds_it_empty(gateway: FakeGateway) -> None:
    done = await gateway.run_turn("shell", "echo needle > hay.txt; cat; rg needle || grep -r needle .")
    assert done["status"] == "succeeded"


async def test_cancelling_interrupts_the_whole_process_group(gateway: FakeGateway, workspace: Path) -> None:
    turn = await gateway.send_turn("shell", 'trap "echo bye" INT; (sleep 60; touch survived) ; echo ready')
    await gateway.wait_for("tool.called", turn=turn)
    started = time.monotonic()
    await gateway.send({"op": "cancel", "turn": turn, "reason": "cancelled"})
    done = await gateway.wait_done(turn)
    assert done["status"] == "cancelled"
    assert time.monotonic() - started < 5
    assert not (workspace / "survived").exists()


async def test_a_command_that_does_not_listen_is_killed_within_five_seconds(gateway: FakeGateway) -> None:
    turn = await gateway.send_turn("shell", 'trap "" INT TERM HUP; echo deaf; while :; do sleep 0.1; done')
    await gateway.wait_for("tool.output")
    started = time.monotonic()
    await gateway.send({"op": "cancel", "turn": turn, "reason": "cancelled"})
    done = await gateway.wait_done(turn)
    assert (done["status"], done["text"]) == ("cancelled", "deaf")
    assert time.monotonic() - started < 5


async def test_a_command_that_takes_too_long_expires_with_its_output(gateway: FakeGateway) -> None:
    done = await gateway.run_turn("shell", "echo begun; sleep 60", timeout_s=0.5)
    assert (done["status"], done["error"]["code"], done["text"]) == ("expired", "timeout", "begun")


async def test_what_is_left_in_the_background_does_not_hold_the_turn(
    gateway: FakeGateway, workspace: Path
) -> None:
    started = time.monotonic()
    done = await gateway.run_turn("shell", "(sleep 60; echo never) & echo $! > pid; echo now")
    assert (done["status"], done["text"]) == ("succeeded", "now")
    assert time.monotonic() - started < 5
    pid = (workspace / "pid").read_text().strip()
    async with asyncio.timeout(5):
        while not _is_over(pid):  # noqa: ASYNC110 (it is nobody's child: nothing announces its end)
            await asyncio.sleep(0.01)


def _is_over(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_what_leaves_its_process_group_does_not_hold_the_turn_either(
    gateway: FakeGateway, workspace: Path
) -> None:
    done = await gateway.run_turn("shell", "setsid sleep 60 & echo $! > pid; sleep 0.1; echo now")
    assert (done["status"], done["text"]) == ("succeeded", "now")
    os.kill(int((workspace / "pid").read_text()), signal.SIGKILL)  # in a sandbox the runner does this


async def test_a_long_output_is_cut_in_the_middle_and_says_so(gateway: FakeGateway) -> None:
    turn = await gateway.send_turn("shell", "echo first; seq 1 200000; echo last")
    done = await gateway.wait_done(turn)
    returned = gateway.of_turn(turn, "tool.returned")[0]["data"]
    assert returned["truncated"] is True
    assert MAX_OUTPUT_CHARS <= len(returned["output"]) < MAX_OUTPUT_CHARS + 100
    for text in (returned["output"], done["text"]):
        assert text.startswith("first\n1\n")
        assert "characters left out" in text
        assert text.rstrip().endswith("200000\nlast")
    assert len(done["text"]) < ANSWER_CHARS + 100


async def test_a_flood_of_output_is_thinned_out_live(gateway: FakeGateway) -> None:
    done = await gateway.run_turn("shell", "yes | head -c 30000000")
    assert done["status"] == "succeeded"
    assert len(gateway.live_text("tool.output")) < 10_000_000


async def test_bytes_that_are_not_text_do_no_harm(gateway: FakeGateway) -> None:
    done = await gateway.run_turn("shell", "head -c 100000 /dev/urandom; printf '\\0\\377end'")
    assert done["status"] == "succeeded"
    assert "\0" not in json.dumps(gateway.events, ensure_ascii=False)


async def test_a_script_may_be_longer_than_an_argument(gateway: FakeGateway) -> None:
    done = await gateway.run_turn("shell", "# " + "x" * 400_000 + "\necho reached")
    assert done["text"] == "reached"


async def test_an_empty_prompt_is_invalid(gateway: FakeGateway) -> None:
    done = await gateway.run_turn("shell", " \n")
    assert (done["status"], done["error"]["code"]) == ("failed", "input_invalid")
