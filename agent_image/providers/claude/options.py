"""What the CLI is started with: the gateway and nothing else to reach, no settings but ours."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

from claude_agent_sdk import ClaudeAgentOptions

from agent_image.providers.claude.session import SessionLog
from agent_image.providers.stdio import write_stdio_servers
from agent_image.runner.turn import Turn

MAX_LINE_BYTES = 64 * 1024 * 1024  # of the CLI's output: one line may hold an image
# Nobody answers a dialogue in a sandbox, and there is no web to fetch from.
LEFT_OUT = ["AskUserQuestion", "EnterPlanMode", "ExitPlanMode", "WebFetch", "WebSearch"]

_QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",  # without it: look-ups, and 11 s to exit instead of 0.5
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_MAX_RETRIES": "2",  # the default retries for minutes, even a refused token
    "NO_PROXY": "127.0.0.1,localhost",
}


def build_environment(turn: Turn, gateway_url: str) -> dict[str, str]:
    """Return the CLI's environment: the vault secrets of the turn, and over them the way to the model."""
    environment = {**turn.env, **_QUIET}
    if effort := turn.options.get("effort"):
        environment["CLAUDE_CODE_EFFORT_LEVEL"] = str(effort)
    if turn.trace_headers:
        environment["ANTHROPIC_CUSTOM_HEADERS"] = f"traceparent: {turn.trace_headers['traceparent']}"
    if turn.llm is not None:
        # Not the gateway's socket itself: the CLI gives up on one that is away within two seconds.
        environment["ANTHROPIC_BASE_URL"] = f"{gateway_url}{turn.llm.path}"
        environment["ANTHROPIC_AUTH_TOKEN"] = turn.llm.token
        environment["ANTHROPIC_API_KEY"] = (
            ""  # a vault secret of this name must not go to the gateway instead
        )
    return environment


def write_mcp_config(turn: Turn, gateway_url: str, folder: Path) -> Path:
    """Write the MCP servers to a file: on the command line their tokens would show in the host's process list."""
    servers: dict[str, dict[str, Any]] = {
        server.name: {
            "type": "http",
            "url": gateway_url + server.path,
            "headers": {"Authorization": f"Bearer {server.token}", **turn.trace_headers},
        }
        for server in turn.mcp
    }
    for name, command in write_stdio_servers(turn, folder).items():
        servers[name] = {"type": "stdio", "command": command[0], "args": command[1:], "env": {}}
    path = folder / "mcp.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


def build_options(
    turn: Turn, *, gateway_url: str, mcp_config: Path | None, cwd: Path, log: SessionLog, stderr: deque[str]
) -> Any:
    """Return the SDK's options for a turn."""
    is_resumed = turn.session is not None and bool(turn.session.entries)
    return ClaudeAgentOptions(
        system_prompt={"type": "preset", "preset": "claude_code", "append": turn.instructions},
        tools=turn.tools if turn.tools is not None else {"type": "preset", "preset": "claude_code"},
        disallowed_tools=LEFT_OUT,
        permission_mode="bypassPermissions",  # the sandbox is the permission
        setting_sources=[],
        skills=[],
        strict_mcp_config=True,
        mcp_servers=mcp_config or {},
        model=turn.model,
        max_turns=turn.max_turns,
        max_budget_usd=turn.options.get("max_budget_usd"),
        resume=turn.session.id if turn.session is not None and is_resumed else None,
        session_store=log,
        session_store_flush="eager",
        include_partial_messages=True,
        verbatim_prompts=True,  # a person's "/…" or "@path" is text, not a command or a file to be read
        cwd=cwd,
        env=build_environment(turn, gateway_url),
        max_buffer_size=MAX_LINE_BYTES,
        stderr=stderr.append,
    )
