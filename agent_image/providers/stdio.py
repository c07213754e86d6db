"""MCP servers that run in the sandbox: what a CLI is told to start for each, and what each gets to see."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from agent_image.providers.environment import build_environment
from agent_image.runner.egress import VARIABLES
from agent_image.runner.turn import StdioServer, Turn

_LAUNCHER = Path(__file__).with_name("stdio_server.py")
LEAST_START_S = 30
"""A server that is written in an interpreted language takes longer to start than some CLIs wait."""


def write_stdio_servers(turn: Turn, folder: Path) -> dict[str, list[str]]:
    """Write what each server is started with to a file of its own; return by name the command that starts it.

    Not into the CLI's configuration: each CLI replaces other things in there, and gives the program another part of
    its own environment, in which the turn's tokens are.
    """
    commands = {}
    for number, server in enumerate(turn.mcp_stdio):
        path = folder / f"stdio-{number}.json"
        path.touch(mode=0o600)
        path.write_text(
            json.dumps(
                {
                    "command": [server.command, *server.args],
                    "env": _environment_of(turn, server),
                    "allowed_tools": server.allowed_tools,
                }
            ),
            encoding="utf-8",
        )
        commands[server.name] = [sys.executable, "-I", "-S", str(_LAUNCHER), str(path)]
    return commands


def _environment_of(turn: Turn, server: StdioServer) -> dict[str, str]:
    """Return the sandbox's environment with the way outside, and what was given to this server. No other secret."""
    outside = {name: value for name, value in turn.env.items() if name.upper() in VARIABLES}
    # One that the agent is not granted (any more) is left out: the server has to say what it lacks.
    secrets = {name: turn.env[secret] for name, secret in server.secrets.items() if secret in turn.env}
    return build_environment(outside, {**server.env, **secrets})
