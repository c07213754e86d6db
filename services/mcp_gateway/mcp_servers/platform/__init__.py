"""The `platform` server: work passed on and scheduled, what is there, and what an agent may ask for."""

from __future__ import annotations

from services.mcp_gateway.mcp_servers.platform.agents import AGENT_TOOLS
from services.mcp_gateway.mcp_servers.platform.approvals import APPROVAL_TOOLS
from services.mcp_gateway.mcp_servers.platform.asking import ASKING_TOOLS
from services.mcp_gateway.mcp_servers.platform.memories import MEMORY_TOOLS
from services.mcp_gateway.mcp_servers.platform.playbook_tools import PLAYBOOK_TOOLS
from services.mcp_gateway.mcp_servers.platform.tasks import TASK_TOOLS
from services.mcp_gateway.mcp_servers.platform.workspaces import WORKSPACE_TOOLS
from services.mcp_gateway.mcp_servers.tools import ToolServer

SERVER = ToolServer(
    name="platform",
    title="Platform",
    instructions=(
        "Pass work on to other agents: submit a task, then wait for it with task_wait, as often as it takes. Tasks run "
        "at the same time: submit several before you wait for the first. Have work done later with schedule_task. You "
        "see the work of the person you work for, and nobody else's."
    ),
    tools=(
        *TASK_TOOLS,
        *WORKSPACE_TOOLS,
        *PLAYBOOK_TOOLS,
        *AGENT_TOOLS,
        *ASKING_TOOLS,
        *MEMORY_TOOLS,
        *APPROVAL_TOOLS,
    ),
)
