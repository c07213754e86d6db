"""The `platform` server: work passed on to other agents, and what is there to pass it to."""

from __future__ import annotations

from services.mcp_gateway.mcp_servers.platform.listings import LISTING_TOOLS
from services.mcp_gateway.mcp_servers.platform.tasks import TASK_TOOLS
from services.mcp_gateway.mcp_servers.tools import ToolServer

SERVER = ToolServer(
    name="platform",
    title="Platform",
    instructions=(
        "Pass work on to other agents of your organisation. Submit a task, then wait for it with task_wait, as often "
        "as it takes. Tasks run at the same time: submit several before you wait for the first."
    ),
    tools=(*TASK_TOOLS, *LISTING_TOOLS),
)
