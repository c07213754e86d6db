"""Tasks over REST."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any, Self

from pydantic import Field

from services.api.http.bodies import Closed
from services.api.http.idempotency import IDEMPOTENCY_KEY, read_idempotency_key
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape, to_microusd, to_usd
from services.domain.errors import (
    AgentArchived,
    AgentMissing,
    ChatMissing,
    IdempotencyKeyReused,
    ModelNotAllowed,
    NothingAsked,
    NotTheDecider,
    PromptInvalid,
    QuestionClosed,
    QuestionMissing,
    QueueFull,
    TaskFinished,
    TaskMissing,
    UnsupportedField,
    WorkspaceArchived,
    WorkspaceMissing,
)
from services.domain.tasks.answers import answer_task
from services.domain.tasks.messages import send_message
from services.domain.tasks.models import MessageState, Task, TaskMessage, TaskMode, TaskStatus
from services.domain.tasks.output import read_output
from services.domain.tasks.queries import get_task, list_tasks
from services.domain.tasks.submit import TaskOrder, cancel_task, submit_task
from services.domain.tasks.tree import Branch, get_task_tree

TREE_TEXT_CHARS = 500


class Destination(Closed):
    """Where an answer goes besides the workspace: a chat, and a thread in it."""

    chat_id: uuid.UUID
    thread_id: str | None = Field(default=None, max_length=120)


class TaskBody(Closed):
    """A piece of work for an agent in a new workspace, or in one that there is."""

    prompt: str = Field(description="1 to 200,000 characters.")
    agent_id: uuid.UUID | None = Field(default=None, description="Needed without a workspace_id.")
    workspace_id: uuid.UUID | None = None
    mode: TaskMode = Field(default=TaskMode.SESSION, description="batch: the workspace is not kept.")
    model: str | None = Field(default=None, max_length=100)
    max_turns: int | None = Field(default=None, ge=1, le=10_000)
    max_budget_usd: Decimal | None = Field(default=None, ge=0, le=1_000_000, decimal_places=6)
    timeout_s: int | None = Field(default=None, ge=1, le=86_400)
    output_schema: dict[str, Any] | None = Field(
        default=None, description="A JSON Schema (2020-12): the answer is JSON by it, or the task fails."
    )
    attachments: list[Any] | None = Field(
        default=None, max_length=100, description="Not supported yet: empty."
    )
    deliver_to: Destination | None = None

    def order(self) -> TaskOrder:
        """Return what the domain takes. Raises: UnsupportedField."""
        if self.attachments:
            raise UnsupportedField(
                "Attachments are not supported yet.", fields={"attachments": "not supported yet"}
            )
        same = self.model_dump(exclude={"max_budget_usd", "attachments", "deliver_to"})
        destination = self.deliver_to.model_dump(mode="json", exclude_none=True) if self.deliver_to else None
        return TaskOrder(**same, max_budget_microusd=to_microusd(self.max_budget_usd), deliver_to=destination)


class AnswerBody(Closed):
    """The answer to a task's question."""

    text: str = Field(min_length=1, max_length=20_000)
    question_id: uuid.UUID | None = None


class Usage(Shape):
    """Tokens, and money both exact and as a decimal text."""

    input_tokens: int
    output_tokens: int
    cost_microusd: int
    cost_usd: str


class TaskResult(Shape):
    """What a task gave. `output` is the value that its output schema asked for; null without one."""

    text: str
    output: Any
    tool_calls: int
    usage: Usage
    turns: int


class TaskError(Shape):
    """Why a task did not succeed."""

    code: str
    message: str


class TaskShape(Shape):
    """A task. `result` is null until it has ended; `error` is null unless it ended otherwise than in success."""

    id: uuid.UUID
    workspace_id: uuid.UUID
    agent_id: uuid.UUID
    user_id: uuid.UUID | None = Field(
        description="Whose work it is; null for nobody's, as of a group or a hook."
    )
    status: TaskStatus
    mode: TaskMode
    source: str
    prompt: str
    model: str | None
    turn: int
    agent_version: int | None = Field(
        description="The version of the agent that does it; null until it starts."
    )
    max_turns: int | None
    max_budget_microusd: int | None
    max_budget_usd: str | None
    timeout_s: int
    deliver_to: dict[str, Any] | None
    cancel_requested: bool
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    result: TaskResult | None
    error: TaskError | None

    @classmethod
    def of(cls, task: Task) -> Self:
        """Show a row."""
        return cls(
            id=task.id, workspace_id=task.workspace_id, agent_id=task.agent_id, user_id=task.user_id,
            status=TaskStatus(task.status), mode=TaskMode(task.mode), source=task.source, prompt=task.prompt,
            model=task.model or None, turn=task.turn, agent_version=task.agent_version, max_turns=task.max_turns,
            max_budget_microusd=task.max_budget_microusd, max_budget_usd=to_usd(task.max_budget_microusd),
            timeout_s=task.timeout_s, deliver_to=task.deliver_to,
            cancel_requested=task.cancel_requested_at is not None,
            created_at=task.created_at, started_at=task.started_at, finished_at=task.finished_at,
            result=_result(task) if task.finished_at else None,
            error=TaskError(code=task.error_code, message=task.error_message) if task.error_code else None,
        )  # fmt: skip


def _result(task: Task) -> TaskResult:
    usage = Usage(
        input_tokens=task.input_tokens,
        output_tokens=task.output_tokens,
        cost_microusd=task.cost_microusd,
        cost_usd=to_usd(task.cost_microusd) or "0",
    )
    wanted = task.output_schema if task.status == TaskStatus.SUCCEEDED else None
    output = read_output(task.result_text, wanted)[0] if wanted is not None else None
    return TaskResult(
        text=task.result_text, output=output, tool_calls=task.tool_calls, usage=usage, turns=task.turns
    )


class TaskQuery(PageQuery):
    """Which tasks."""

    status: TaskStatus | None = None
    workspace_id: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None


class Tasks(Endpoint):
    """All tasks."""

    tag = "tasks"

    @operation()
    def get(self, call: Call, query: TaskQuery) -> Page[TaskShape]:
        """List tasks, newest first."""
        return page_of(list_tasks(call.actor), query, TaskShape.of)

    @operation(
        status=202,
        headers=(IDEMPOTENCY_KEY,),
        errors=(
            AgentMissing, WorkspaceMissing, ChatMissing, AgentArchived, WorkspaceArchived, IdempotencyKeyReused,
            PromptInvalid, UnsupportedField, QueueFull, ModelNotAllowed,
        ),
    )  # fmt: skip
    def post(self, call: Call, body: TaskBody) -> TaskShape:
        """Submit a piece of work. The same Idempotency-Key with the same body gives the same task again."""
        key = read_idempotency_key(call.headers[IDEMPOTENCY_KEY])
        return TaskShape.of(submit_task(call.actor, body.order(), source="api", idempotency_key=key))


class OneTask(Endpoint):
    """One task."""

    tag = "tasks"

    @operation(errors=(TaskMissing,))
    def get(self, call: Call, task_id: uuid.UUID) -> TaskShape:
        """Show a task."""
        return TaskShape.of(get_task(call.actor, task_id))


class BranchShape(Shape):
    """One task of a tree. `depth` 0 is the work that began it; texts are cut after 500 characters."""

    id: uuid.UUID
    parent_id: uuid.UUID | None
    depth: int
    workspace_id: uuid.UUID
    agent_id: uuid.UUID
    agent: str
    source: str
    status: TaskStatus
    prompt: str
    text: str
    cost_microusd: int
    created_at: Moment
    finished_at: Moment | None

    @classmethod
    def of(cls, branch: Branch) -> Self:
        """Show a task of a tree."""
        task = branch.task
        return cls(
            id=task.id, parent_id=task.parent_id, depth=branch.depth, workspace_id=task.workspace_id,
            agent_id=task.agent_id, agent=task.agent.name, source=task.source, status=TaskStatus(task.status),
            prompt=task.prompt[:TREE_TEXT_CHARS], text=task.result_text[:TREE_TEXT_CHARS],
            cost_microusd=task.cost_microusd, created_at=task.created_at, finished_at=task.finished_at,
        )  # fmt: skip


class TreeShape(Shape):
    """All that came of one piece of work, each task before what came of it. `is_cut`: there are more than 500."""

    items: list[BranchShape]
    cost_microusd: int
    is_cut: bool


class TaskTreeOf(Endpoint):
    """The conversation of agents that one task is in."""

    tag = "tasks"

    @operation(errors=(TaskMissing,))
    def get(self, call: Call, task_id: uuid.UUID) -> TreeShape:
        """Show the work that began it and all that agents passed on, as one tree."""
        tree = get_task_tree(call.actor, task_id)
        items = [BranchShape.of(branch) for branch in tree.branches]
        return TreeShape(items=items, cost_microusd=tree.cost_microusd, is_cut=tree.is_cut)


class TaskCancel(Endpoint):
    """Cancelling one task."""

    tag = "tasks"

    @operation(errors=(TaskMissing, TaskFinished))
    def post(self, call: Call, task_id: uuid.UUID) -> TaskShape:
        """Cancel a task. Asking twice is fine."""
        return TaskShape.of(cancel_task(call.actor, task_id))


class MessageBody(Closed):
    """Something more to say to a task."""

    text: str = Field(description="1 to 200,000 characters.")


class MessageShape(Shape):
    """A message to a task. consumed: the agent has it; taken: its turn has ended; moved: it became `moved_to`."""

    id: uuid.UUID
    task_id: uuid.UUID
    text: str
    state: MessageState
    moved_to: uuid.UUID | None
    created_at: Moment

    @classmethod
    def of(cls, message: TaskMessage) -> Self:
        """Show a row."""
        return cls(
            id=message.id,
            task_id=message.task_id,
            text=message.text,
            state=MessageState(message.state),
            moved_to=message.moved_to_id,
            created_at=message.created_at,
        )


class TaskMessages(Endpoint):
    """Talking to one task."""

    tag = "tasks"

    @operation(
        status=202,
        headers=(IDEMPOTENCY_KEY,),
        errors=(TaskMissing, TaskFinished, PromptInvalid, QueueFull, IdempotencyKeyReused),
    )
    def post(self, call: Call, task_id: uuid.UUID, body: MessageBody) -> MessageShape:
        """Send a message to a task that has not ended: the agent takes it while it works, or right after."""
        key = read_idempotency_key(call.headers[IDEMPOTENCY_KEY])
        return MessageShape.of(send_message(call.actor, task_id, body.text, idempotency_key=key))


class TaskAnswer(Endpoint):
    """Answering one task's question."""

    tag = "tasks"

    @operation(
        errors=(TaskMissing, TaskFinished, NothingAsked, QuestionMissing, QuestionClosed, NotTheDecider)
    )
    def post(self, call: Call, task_id: uuid.UUID, body: AnswerBody) -> TaskShape:
        """Answer what the agent asked."""
        return TaskShape.of(answer_task(call.actor, task_id, body.text, question_id=body.question_id))
