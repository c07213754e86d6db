"""What the providers' conformance suite needs to know of each: its model's wire, and how it is told what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.fakes.anthropic_server import AnthropicServer, Rule, ToolUse
from tests.fakes.openai_server import OpenaiServer

MODEL_TOKEN, MEMORY_TOKEN = "token-of-the-model", "token-of-memory"
MCP = [{"name": "memory", "path": "/mcp/memory", "token": MEMORY_TOKEN}]
STDIO_PROGRAM = (Path(__file__).parents[4] / "tests" / "fakes" / "stdio_mcp.py").read_text()
STDIO = {
    "name": "tools",
    "command": "python3",
    "args": ["-c", STDIO_PROGRAM, "${HOME} $(id)"],
    "env": {"MODE": "fast"},
    "secrets": {"API_KEY": "GRANTED"},
    "allowed_tools": None,
    "timeout_s": 60,
}
UNTIL_GO = "until [ -e go ]; do sleep 0.05; done"
LOOK = "echo found-$((40 + 2)) $GRANTED $(id -u)"


@dataclass(frozen=True)
class Wire:
    """A model's API: where the sandbox finds it, and the server that plays it."""

    kind: str
    model: str
    make_server: Callable[[list[Rule]], AnthropicServer | OpenaiServer]

    @property
    def llm(self) -> dict[str, str]:
        """Return what a turn says of it."""
        return {"kind": self.kind, "path": f"/llm/{self.kind}", "token": MODEL_TOKEN}


ANTHROPIC = Wire("anthropic", "claude-sonnet-5", lambda rules: AnthropicServer(rules, key=MODEL_TOKEN))
OPENAI = Wire("openai", "gpt-5.5", lambda rules: OpenaiServer(rules, key=MODEL_TOKEN))


@dataclass(frozen=True)
class Case:
    """One provider as the suite sees it. `wire` is None for one without a model."""

    provider: str
    wire: Wire | None = None
    run_command: Callable[[str], ToolUse] | None = None
    remember: str = ""
    """What the model calls the memory server's tool."""
    process: str = ""
    """A pattern that finds the CLI's processes."""
    prompts: dict[str, str] = field(default_factory=dict)
    """What to say in place of the scenario's name, where there is no model that understands it."""
    follow_up: str = "and one thing more"

    def tool_of(self, server: str, tool: str) -> str:
        """Return what the model calls a tool of a server."""
        return self.remember.replace("memory", server).replace("remember", tool)

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields of a turn that every scenario needs."""
        return {"llm": self.wire.llm, "model": self.wire.model} if self.wire else {}

    def prompt(self, scenario: str) -> str:
        """Return how a scenario is asked for."""
        return self.prompts.get(scenario, scenario)

    def rules(self) -> list[Rule]:
        """Return how the model answers each scenario."""
        run = self.run_command
        if run is None:
            return []
        return [
            Rule(
                user="look around",
                has_tool_result=False,
                thinking="I had better look.",
                text="Let me look.",
                tool_uses=[run(LOOK)],
            ),
            Rule(
                user="look around",
                tool_result="found-42",
                tool_uses=[ToolUse(name=self.remember, input={"text": "it is 42"})],
            ),
            Rule(user="look around", tool_result="remembered", text="The answer is 42."),
            Rule(
                user="use the tools",
                has_tool_result=False,
                tool_uses=[
                    ToolUse(
                        name=self.tool_of("tools", "look"),
                        input={"names": ["MODE", "API_KEY", "GRANTED"]},
                    )
                ],
            ),
            Rule(
                user="use the other tool",
                has_tool_result=False,
                tool_uses=[ToolUse(name=self.tool_of("tools", "quiet"))],
            ),
            Rule(user="use the tools", has_tool_result=True, text="Used."),
            Rule(user="use the other tool", has_tool_result=True, text="Used."),
            Rule(user="my name is Ada", text="Hello Ada."),
            Rule(user="what is my name", text="Ada, I think."),
            Rule(user="one thing more", text="Both done."),
            Rule(user="slow work", has_tool_result=False, tool_uses=[run(UNTIL_GO)]),
            Rule(user="slow work", has_tool_result=True, text="Slowly done."),
            Rule(user="endless work", tool_uses=[run("true")]),
            Rule.model_validate(
                {
                    "user": "no budget",
                    "error": {"status": 402, "type": "billing_error", "message": "it is spent"},
                }
            ),
            Rule.model_validate(
                {
                    "user": "bad model",
                    "error": {"status": 400, "type": "invalid_request_error", "message": "no such model"},
                }
            ),
        ]


def _scripted(*steps: Any) -> str:
    return json.dumps(steps)


CASES = {
    "shell": Case(
        "shell",
        process=r"^sleep 0\.05",
        prompts={"look around": LOOK, "slow work": UNTIL_GO},
        follow_up="echo Both done.",
    ),
    "scripted": Case(
        "scripted",
        prompts={
            "look around": _scripted(
                {"live": ["text.delta", {"text": "The answer is 42."}]},
                {"event": ["tool.called", {"call_id": "c", "name": "Bash", "input": {}}]},
                {
                    "event": [
                        "tool.returned",
                        {
                            "call_id": "c",
                            "is_error": False,
                            "output": "found-42 a secret 10001",
                            "truncated": False,
                            "duration_ms": 1,
                        },
                    ]
                },
                {"finish": "The answer is 42."},
            ),
            "slow work": _scripted(
                {"event": ["tool.called", {"call_id": "c", "name": "Bash", "input": {}}]},
                {"wait_message": True},
                {"finish": "Both done."},
            ),
            "crash": _scripted({"crash": "no more"}),
        },
    ),
    "claude": Case(
        "claude",
        ANTHROPIC,
        run_command=lambda script: ToolUse(name="Bash", input={"command": script}),
        remember="mcp__memory__remember",
        process="_bundled/claude",
    ),
    "codex": Case(
        "codex",
        OPENAI,
        run_command=lambda script: ToolUse(
            name="exec_command", input={"cmd": script, "yield_time_ms": 30_000}
        ),
        remember="mcp__memory__remember",
        process="codex/bin/codex",
    ),
    "opencode": Case(
        "opencode",
        OPENAI,
        run_command=lambda script: ToolUse(name="bash", input={"command": script, "description": "Runs it"}),
        remember="memory_remember",
        process="opencode/bin/opencode",
    ),
}
CASES["opencode on claude"] = replace(CASES["opencode"], wire=ANTHROPIC)
