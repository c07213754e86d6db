"""What the platform tools take and give."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from pydantic import Field

from services.domain.tasks.models import FINAL, MAX_PROMPT_CHARS, Task
from services.kit.clock import rfc3339
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

MAX_WAIT_S = 50
MAX_TEXT_CHARS = 50_000

TaskId = Annotated[uuid.UUID, Field(description="The `task_id` that task_submit returned.")]
Limit = Annotated[int, Field(ge=1, le=100, description="The most to return.")]
Cursor = Annotated[
    uuid.UUID | None, Field(description="`next` of the page before; leave out for the first page.")
]


class SubmitInput(ToolInput):
    prompt: str = Field(
        min_length=1,
        max_length=MAX_PROMPT_CHARS,
        description="All that the other agent needs to know: it does not see your conversation.",
    )
    agent: str | None = Field(
        default=None,
        max_length=80,
        description="The id, slug or name of an agent from agent_list. Leave out for another one of your own kind.",
    )
    workspace_id: uuid.UUID | None = Field(
        default=None,
        description="Continue in this workspace, with its files and its conversation. Leave out for a new one.",
    )
    mode: Literal["session", "batch"] = Field(
        default="batch",
        description="`batch`: a new workspace that is thrown away afterwards. `session`: one that is kept.",
    )


class Submitted(ToolOutput):
    task_id: str
    workspace_id: str
    agent: str
    status: str


class TaskInput(ToolInput):
    task_id: TaskId


class WaitInput(ToolInput):
    task_id: TaskId
    timeout_s: float = Field(
        default=30, ge=0, le=MAX_WAIT_S, description="How long to wait at most. Call again if it is not done."
    )


class TaskProblem(ToolOutput):
    code: str
    message: str


class TaskState(ToolOutput):
    """A task as another agent sees it. `text` is its answer, empty until it has ended."""

    task_id: str
    workspace_id: str
    agent: str
    status: str
    is_finished: bool
    text: str
    is_text_cut: bool
    error: TaskProblem | None
    cost_usd: str
    created_at: str
    finished_at: str | None

    @classmethod
    def of(cls, task: Task) -> TaskState:
        """Describe a task that was read with its agent."""
        return cls(
            task_id=str(task.id),
            workspace_id=str(task.workspace_id),
            agent=task.agent.slug,
            status=task.status,
            is_finished=task.status in FINAL,
            text=task.result_text[:MAX_TEXT_CHARS],
            is_text_cut=len(task.result_text) > MAX_TEXT_CHARS,
            error=TaskProblem(code=task.error_code, message=task.error_message) if task.error_code else None,
            cost_usd=f"{task.cost_microusd / 1_000_000:.6f}",
            created_at=rfc3339(task.created_at),
            finished_at=rfc3339(task.finished_at) if task.finished_at else None,
        )


class ListInput(ToolInput):
    limit: Limit = 50
    cursor: Cursor = None


class ListedAgent(ToolOutput):
    agent_id: str
    slug: str
    name: str
    description: str
    provider: str


class AgentList(ToolOutput):
    agents: list[ListedAgent]
    next: str | None


class ListedWorkspace(ToolOutput):
    workspace_id: str
    name: str
    agent: str
    is_persistent: bool
    last_active_at: str


class WorkspaceList(ToolOutput):
    workspaces: list[ListedWorkspace]
    next: str | None
