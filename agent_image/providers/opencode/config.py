"""What the CLI is started with: the gateway as its only model, our MCP servers, nothing else to reach."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent_image.providers.environment import build_environment
from agent_image.providers.stdio import LEAST_START_S, write_stdio_servers
from agent_image.runner.turn import ModelAccess, Turn

PROVIDER = "gateway"
# Both packages are built into the CLI, so that nothing is installed.
_PACKAGES = {"anthropic": "@ai-sdk/anthropic", "openai": "@ai-sdk/openai"}
_DEFAULT_MODELS = {"anthropic": "claude-sonnet-5", "openai": "gpt-5.5"}
_MODEL_TOKEN = "SLIPWAY_MODEL_TOKEN"  # noqa: S105 (the name of a variable)
_QUIET = ("AUTOUPDATE", "MODELS_FETCH", "DEFAULT_PLUGINS", "LSP_DOWNLOAD", "SHARE", "CLAUDE_CODE")
# Nobody answers a dialogue in a sandbox, and there is no web to fetch from.
_LEFT_OUT = ("question", "webfetch", "websearch", "codesearch")


def can_use(llm: ModelAccess | None) -> bool:
    """Say whether the CLI speaks the wire format of this model."""
    return llm is not None and llm.kind in _PACKAGES


def model_of(turn: Turn, llm: ModelAccess) -> str:
    """Return the name of the model to ask for."""
    return turn.model or _DEFAULT_MODELS[llm.kind]


def write_config(turn: Turn, llm: ModelAccess, gateway_url: str, folder: Path) -> Path:
    """Write the CLI's configuration. It holds no token: those are in the environment."""
    model = model_of(turn, llm)
    config: dict[str, Any] = {
        "autoupdate": False,
        "share": "disabled",
        "snapshot": False,
        "permission": "allow",
        "tools": dict.fromkeys(_LEFT_OUT, False),
        "enabled_providers": [PROVIDER],
        "model": f"{PROVIDER}/{model}",
        "small_model": f"{PROVIDER}/{model}",
        "provider": {
            PROVIDER: {
                "npm": _PACKAGES[llm.kind],
                "name": PROVIDER,
                "options": {
                    "baseURL": f"{gateway_url}{llm.path}/v1",
                    "apiKey": f"{{env:{_MODEL_TOKEN}}}",
                },
                "models": {model: {"name": model, "tool_call": True}},
            }
        },
        "mcp": {
            server.name: {
                "type": "remote",
                "url": gateway_url + server.path,
                "headers": {"Authorization": f"Bearer {{env:{variable}}}", **turn.trace_headers},
                "oauth": False,
            }
            for variable, server in _server_variables(turn)
        },
    }
    limits = {server.name: max(server.timeout_s, LEAST_START_S) for server in turn.mcp_stdio}
    for name, command in write_stdio_servers(turn, folder).items():
        config["mcp"][name] = {"type": "local", "command": command, "timeout": limits[name] * 1_000}
    path = folder / "opencode.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def build_cli_environment(
    turn: Turn, llm: ModelAccess, *, folder: Path, config: Path, password: str
) -> Mapping[str, str]:
    """Return the CLI's environment: its folders in one that ends with the turn, and the turn's tokens."""
    own = {variable: server.token for variable, server in _server_variables(turn)}
    own |= {f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("DATA", "CONFIG", "CACHE", "STATE")}
    own |= {f"OPENCODE_DISABLE_{what}": "1" for what in _QUIET}
    own |= {
        _MODEL_TOKEN: llm.token,
        "OPENCODE_PURE": "1",
        "OPENCODE_CONFIG": str(config),
        "OPENCODE_SERVER_PASSWORD": password,
    }
    return build_environment(turn.env, own)


def _server_variables(turn: Turn) -> list[tuple[str, Any]]:
    return [(f"SLIPWAY_MCP_TOKEN_{number}", server) for number, server in enumerate(turn.mcp)]
