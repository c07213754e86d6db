"""The `memory` server: notes that an agent keeps between its tasks, for each person apart."""

from __future__ import annotations

from services.mcp_gateway.mcp_servers.memory.reading import READING_TOOLS
from services.mcp_gateway.mcp_servers.memory.writing import WRITING_TOOLS
from services.mcp_gateway.mcp_servers.tools import ToolServer

SERVER = ToolServer(
    name="memory",
    title="Memory",
    instructions=(
        "Your notes, kept between tasks and private to you and the person you work for. Search before you ask what you "
        "may have been told already; write down what will matter next time."
    ),
    tools=(*WRITING_TOOLS, *READING_TOOLS),
)
