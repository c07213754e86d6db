"""A small MCP server over standard input and output, of the standard library alone: it runs in any sandbox.

`python3 stdio_mcp.py [word …]`, or its text by `python3 -c`. Tool `look` says what it was started with: its arguments,
those variables of its environment that the call names, and its process; `quiet` has nothing to say.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_TOOLS: list[dict[str, Any]] = [
    {
        "name": "look",
        "description": "Say what this server was started with.",
        "inputSchema": {
            "type": "object",
            "properties": {"names": {"type": "array", "items": {"type": "string"}}},
        },
    },
    {"name": "quiet", "description": "Say nothing.", "inputSchema": {"type": "object", "properties": {}}},
]


def _called(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    seen = {
        "seen": "stdio",
        "argv": sys.argv[1:],
        "env": {variable: os.environ.get(variable) for variable in arguments.get("names", [])},
        "pid": os.getpid(),
        "count": len(
            [variable for variable in os.environ if variable.startswith(("SLIPWAY_", "ANTHROPIC_"))]
        ),
    }
    text = json.dumps(seen) if name == "look" else "nothing to say"
    return {"content": [{"type": "text", "text": text}], "isError": False}


def _answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        return {
            "protocolVersion": params.get("protocolVersion", "2025-06-18"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "stdio", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": _TOOLS}
    return _called(params["name"], params.get("arguments") or {}) if method == "tools/call" else {}


def serve() -> None:
    """Answer line by line until nobody asks any more."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            result = _answer(message["method"], message.get("params") or {})
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)


if __name__ == "__main__":
    serve()
