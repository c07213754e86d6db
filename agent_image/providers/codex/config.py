"""What the CLI is started with: the gateway as its only model, our MCP servers, nothing else to reach."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent_image.providers.environment import build_environment
from agent_image.providers.stdio import LEAST_START_S, write_stdio_servers
from agent_image.runner.turn import ModelAccess, Turn

_MODEL_TOKEN = "SLIPWAY_MODEL_TOKEN"  # noqa: S105 (the name of a variable)
_EFFORTS = {"max": "xhigh"}  # what the CLI calls it
# The sandbox is the permission: its kernel refuses what the CLI's own sandbox would need. Without the features turned
# off, the CLI looks up the vendor's plugin repository. A login shell would reset PATH.
_SETTINGS: dict[str, Any] = {
    "model_provider": "gateway",
    "approval_policy": "never",
    "sandbox_mode": "danger-full-access",
    "web_search": "disabled",
    "check_for_update_on_startup": False,
    "allow_login_shell": False,
    "analytics.enabled": False,
    "history.persistence": "none",
    "features.plugins": False,
    "features.apps": False,
    "features.remote_plugin": False,
    "shell_environment_policy.inherit": "all",
    "shell_environment_policy.ignore_default_excludes": True,
    "model_providers.gateway.name": "gateway",
    "model_providers.gateway.wire_api": "responses",
    "model_providers.gateway.env_key": _MODEL_TOKEN,
    "model_providers.gateway.supports_websockets": False,
    "model_providers.gateway.request_max_retries": 3,
    "model_providers.gateway.stream_max_retries": 2,
}


def write_config(turn: Turn, llm: ModelAccess, gateway_url: str, home: Path) -> None:
    """Write the CLI's configuration. It holds no token: those are in the environment."""
    settings = {**_SETTINGS, "model_providers.gateway.base_url": f"{gateway_url}{llm.path}/v1"}
    if turn.model:
        settings["model"] = turn.model
    if effort := turn.options.get("effort"):
        settings["model_reasoning_effort"] = _EFFORTS.get(effort, effort)
    for variable, server in _server_variables(turn):
        key = f"mcp_servers.{json.dumps(server.name)}"
        settings[f"{key}.url"] = gateway_url + server.path
        settings[f"{key}.bearer_token_env_var"] = variable
        for name, value in turn.trace_headers.items():
            settings[f"{key}.http_headers.{name}"] = value
    limits = {server.name: server.timeout_s for server in turn.mcp_stdio}
    for name, command in write_stdio_servers(turn, home).items():
        key = f"mcp_servers.{json.dumps(name)}"
        settings |= {f"{key}.command": command[0], f"{key}.args": command[1:]}
        settings |= {f"{key}.startup_timeout_sec": LEAST_START_S, f"{key}.tool_timeout_sec": limits[name]}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
    (home / "config.toml").write_text("".join(lines), encoding="utf-8")


def build_cli_environment(turn: Turn, llm: ModelAccess, home: Path) -> dict[str, str]:
    """Return the CLI's environment, with the turn's tokens."""
    tokens = {variable: server.token for variable, server in _server_variables(turn)}
    return build_environment(turn.env, {**tokens, _MODEL_TOKEN: llm.token, "CODEX_HOME": str(home)})


def _server_variables(turn: Turn) -> Iterator[tuple[str, Any]]:
    return ((f"SLIPWAY_MCP_TOKEN_{number}", server) for number, server in enumerate(turn.mcp))
