"""What the task tools take and give."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from pydantic import Field

from services.domain.tasks.models import FINAL, MAX_PROMPT_CHARS, Task
from services.kit.clock import rfc3339
from services.mcp_gateway.mcp_servers.platform.common import AgentName, Cursor, Limit, Next, Usd, moment
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

MAX_WAIT_S = 50
MAX_TEXT_CHARS = 50_000
LISTED_TEXT_CHARS = 200

TaskId = Annotated[uuid.UUID, Field(description="The `task_id` that task_submit or task_list returned.")]
Status = Literal["queued", "starting", "running", "waiting", "succeeded", "failed", "cancelled", "expired"]
TaskIdOut = Annotated[str, Field(description="The task's id.")]
WorkspaceIdOut = Annotated[str, Field(description="The workspace in which it is done.")]
AgentOut = Annotated[str, Field(description="The slug of the agent that does it.")]
StatusOut = Annotated[
    str,
    Field(
        description="queued, starting, running, waiting, and at the end succeeded, failed, cancelled or expired."
    ),
]


class SubmitInput(ToolInput):
    prompt: str = Field(
        min_length=1,
        max_length=MAX_PROMPT_CHARS,
        description="All that the other agent needs to know: it does not see your conversation.",
        examples=["Find out which of these three libraries is maintained, and answer with one name: …"],
    )
    agent: AgentName = None
    workspace_id: uuid.UUID | None = Field(
        default=None,
        description="Continue in this workspace, with its files and its conversation. Leave out for a new one.",
    )
    mode: Literal["session", "batch"] = Field(
        default="batch",
        description="`batch`: a new workspace that is thrown away afterwards. `session`: one that is kept.",
    )
    max_budget_usd: Usd = None


class Submitted(ToolOutput):
    task_id: TaskIdOut
    workspace_id: WorkspaceIdOut
    agent: AgentOut
    status: StatusOut


class TaskInput(ToolInput):
    task_id: TaskId


class WaitInput(ToolInput):
    task_id: TaskId
    timeout_s: float = Field(
        default=30, ge=0, le=MAX_WAIT_S, description="How long to wait at most. Call again if it is not done."
    )


class TaskListInput(ToolInput):
    status: Status | None = Field(default=None, description="Only tasks in this state.")
    workspace_id: uuid.UUID | None = Field(default=None, description="Only tasks of this workspace.")
    limit: Limit = 20
    cursor: Cursor = None


class TaskProblem(ToolOutput):
    code: str = Field(description="A fixed word for what went wrong.")
    message: str = Field(description="What went wrong.")


class TaskState(ToolOutput):
    """A task as another agent sees it."""

    task_id: TaskIdOut
    workspace_id: WorkspaceIdOut
    agent: AgentOut
    status: StatusOut
    is_finished: bool = Field(description="Whether it has ended, well or not.")
    text: str = Field(description="Its answer; empty until it has ended.")
    is_text_cut: bool = Field(
        description="Whether the answer is longer; workspace_transcript shows all of it."
    )
    error: TaskProblem | None = Field(description="Why it failed, if it did.")
    cost_usd: str = Field(description="What its model calls have cost so far, in US dollars.")
    created_at: str = Field(description="When it was submitted, in UTC.")
    finished_at: str | None = Field(description="When it ended, in UTC.")

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
            finished_at=moment(task.finished_at),
        )


class ListedTask(ToolOutput):
    task_id: TaskIdOut
    workspace_id: WorkspaceIdOut
    agent: AgentOut
    status: StatusOut
    prompt: str = Field(description="The beginning of what was asked.")
    created_at: str = Field(description="When it was submitted, in UTC.")

    @classmethod
    def of(cls, task: Task) -> ListedTask:
        """Describe a task that was read with its agent."""
        return cls(
            task_id=str(task.id),
            workspace_id=str(task.workspace_id),
            agent=task.agent.slug,
            status=task.status,
            prompt=task.prompt[:LISTED_TEXT_CHARS],
            created_at=rfc3339(task.created_at),
        )


class TaskList(ToolOutput):
    tasks: list[ListedTask] = Field(description="The tasks, the newest first.")
    next: Next
