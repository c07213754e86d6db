"""MCP servers in the sandbox: how the CLIs are told of them, and what each is started with and offers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent_image.providers.codex.config import write_config as write_codex
from agent_image.providers.opencode.config import write_config as write_opencode
from agent_image.providers.stdio import write_stdio_servers
from agent_image.runner.turn import ModelAccess, Turn, TurnInvalid, parse_turn

FAKE = Path(__file__).parents[2] / "tests" / "fakes" / "stdio_mcp.py"
LLM = ModelAccess("openai", "/llm/openai", "token-of-the-model")


def turn_of(**server: Any) -> Turn:
    """Return a turn with one server, as its frame says it."""
    given = {"name": "tools", "command": sys.executable, "args": [str(FAKE)], **server}
    return parse_turn(
        {
            "turn": "t",
            "provider": "codex",
            "prompt": "any",
            "env": {"GRANTED": "a secret", "OTHER": "another", "https_proxy": "http://127.0.0.1:8801"},
            "options": {"mcp_stdio": [given]},
        }
    )


def ask(turn: Turn, folder: Path, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Start the turn's server as a CLI does, say everything, and return all that it answers."""
    (command,) = write_stdio_servers(turn, folder).values()
    said = "".join(json.dumps(message) + "\n" for message in messages)
    env = {**os.environ, "SLIPWAY_MODEL_TOKEN": "of the CLI", "ANTHROPIC_AUTH_TOKEN": "of the CLI"}
    ended = subprocess.run(
        command, input=said, env=env, capture_output=True, text=True, timeout=20, check=True
    )
    return [json.loads(line) for line in ended.stdout.splitlines()]


def call(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def look(turn: Turn, folder: Path, *names: str) -> dict[str, Any]:
    """Return what the server says that it was started with."""
    (answer,) = ask(turn, folder, call(7, "look", names=list(names)))
    found: dict[str, Any] = json.loads(answer["result"]["content"][0]["text"])
    return found


def test_it_is_started_with_its_own_arguments_and_environment_and_none_of_the_clis(tmp_path: Path) -> None:
    odd = ["${GRANTED}", "{env:GRANTED}", "$(id) 'two words'", "ü\n😀"]
    turn = turn_of(
        args=[str(FAKE), *odd], env={"MODE": "${HOME}"}, secrets={"API_KEY": "GRANTED", "GONE": "NONE"}
    )
    seen = look(turn, tmp_path, "MODE", "API_KEY", "GONE", "GRANTED", "OTHER", "https_proxy", "PATH")
    assert seen["argv"] == odd
    assert seen["env"].pop("PATH") == os.environ["PATH"]
    assert seen["env"] == {
        "MODE": "${HOME}", "API_KEY": "a secret", "GONE": None, "GRANTED": None, "OTHER": None,
        "https_proxy": "http://127.0.0.1:8801",
    }  # fmt: skip
    assert seen["count"] == 0


def test_a_list_of_tools_hides_the_others_and_answers_their_calls(tmp_path: Path) -> None:
    everything = ask(turn_of(), tmp_path, LIST)
    assert [tool["name"] for tool in everything[0]["result"]["tools"]] == ["look", "quiet"]
    narrow = turn_of(allowed_tools=["look"])
    answers = {
        answer["id"]: answer for answer in ask(narrow, tmp_path, LIST, call(2, "quiet"), call(3, "look"))
    }
    assert [tool["name"] for tool in answers[1]["result"]["tools"]] == ["look"]
    assert answers[2]["error"] == {"code": -32602, "message": "Unknown tool: quiet"}
    assert "stdio" in answers[3]["result"]["content"][0]["text"]
    assert ask(turn_of(allowed_tools=[]), tmp_path, LIST)[0]["result"]["tools"] == []


@pytest.mark.parametrize("allowed", [None, ["look"]])
def test_a_program_that_is_not_there_ends_with_a_word(tmp_path: Path, allowed: list[str] | None) -> None:
    turn = turn_of(command="no-such-program", allowed_tools=allowed)
    (command,) = write_stdio_servers(turn, tmp_path).values()
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stderr) == (127, "no-such-program: No such file or directory\n")


def test_a_server_behind_a_list_ends_when_it_is_told_to(tmp_path: Path) -> None:
    (command,) = write_stdio_servers(turn_of(allowed_tools=["look"]), tmp_path).values()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(call(1, "look")).encode() + b"\n")
        process.stdin.flush()
        pid = json.loads(json.loads(process.stdout.readline())["result"]["content"][0]["text"])["pid"]
        assert pid != process.pid
        process.terminate()
        process.wait(20)
    assert not Path(f"/proc/{pid}").exists()


def test_what_it_is_started_with_is_its_users_alone_and_in_no_configuration(tmp_path: Path) -> None:
    turn = turn_of(env={"MODE": "fast"}, secrets={"API_KEY": "GRANTED"}, timeout_s=90)
    write_codex(turn, LLM, "http://gateway", tmp_path)
    codex = (tmp_path / "config.toml").read_text()
    opencode = write_opencode(turn, LLM, "http://gateway", tmp_path).read_text()
    assert (tmp_path / "stdio-0.json").stat().st_mode & 0o077 == 0
    assert "a secret" in (tmp_path / "stdio-0.json").read_text()
    assert "a secret" not in codex + opencode + repr(turn)
    (command,) = write_stdio_servers(turn, tmp_path).values()
    assert tomllib.loads(codex)["mcp_servers"]["tools"] == {
        "command": command[0], "args": command[1:], "startup_timeout_sec": 30, "tool_timeout_sec": 90,
    }  # fmt: skip
    assert json.loads(opencode)["mcp"] == {"tools": {"type": "local", "command": command, "timeout": 90_000}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"args": [1]},
        {"args": ["\0"]},
        {"env": {"A=B": "x"}},
        {"command": None},
        {"secrets": {"A": 1}},
        {"secrets": "x"},
    ],
)
def test_a_server_that_no_process_can_be_made_of_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TurnInvalid):
        turn_of(**wrong)
