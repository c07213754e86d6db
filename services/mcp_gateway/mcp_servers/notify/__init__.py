"""The `notify` server: a word to the person while the work goes on."""

from __future__ import annotations

from services.mcp_gateway.mcp_servers.notify.tools import TOOLS
from services.mcp_gateway.mcp_servers.tools import ToolServer

SERVER = ToolServer(
    name="notify",
    title="Notify",
    instructions="Tell the person you work for something before your task ends. Your final answer reaches them anyway.",
    tools=TOOLS,
)
