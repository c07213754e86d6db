"""The tools about tasks: submit, look, wait, list, cancel."""

from __future__ import annotations

import asyncio
import time
import uuid

from services.domain.errors import Conflict, NotPermitted
from services.domain.tasks.models import FINAL, Task, TaskMode
from services.domain.tasks.queries import get_task, list_tasks
from services.domain.tasks.submit import TaskOrder, cancel_task, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.platform.common import agent_id_of, page_of, to_microusd
from services.mcp_gateway.mcp_servers.platform.task_models import (
    MAX_WAIT_S,
    ListedTask,
    SubmitInput,
    Submitted,
    TaskInput,
    TaskList,
    TaskListInput,
    TaskState,
    WaitInput,
)
from services.mcp_gateway.mcp_servers.tools import Tool
from services.mcp_gateway.threads import run_in_thread

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


def _submit_now(caller: Caller, given: SubmitInput) -> Submitted:
    actor = caller.actor
    with tenant_transaction(actor.org_id):
        is_elsewhere = given.workspace_id is not None and given.agent is None
        order = TaskOrder(
            agent_id=None if is_elsewhere else agent_id_of(caller, given.agent),
            workspace_id=given.workspace_id,
            prompt=given.prompt,
            mode=TaskMode(given.mode),
            max_budget_microusd=to_microusd(given.max_budget_usd),
        )
        task = submit_task(actor, order, source="agent" if caller.task_id else "mcp")
        return Submitted(
            task_id=str(task.id),
            workspace_id=str(task.workspace_id),
            agent=task.agent.slug,
            status=task.status,
        )


def _read_now(caller: Caller, task_id: uuid.UUID) -> Task:
    with tenant_transaction(caller.actor.org_id):
        return get_task(caller.actor, task_id)


def _cancel_now(caller: Caller, task_id: uuid.UUID) -> TaskState:
    if task_id == caller.task_id:
        raise Conflict("This is your own task: it ends when you answer, so do not cancel it.")
    # An agent reaches nobody else's; a person's program might, as the person does in the dashboard.
    if _read_now(caller, task_id).user_id != caller.actor.user_id:
        raise NotPermitted("You may cancel the tasks of the person you work for.")
    cancel_task(caller.actor, task_id)
    return TaskState.of(_read_now(caller, task_id))


def _list_now(caller: Caller, given: TaskListInput) -> TaskList:
    with tenant_transaction(caller.actor.org_id):
        tasks = list_tasks(caller.actor)
        if given.status is not None:
            tasks = tasks.filter(status=given.status)
        if given.workspace_id is not None:
            tasks = tasks.filter(workspace_id=given.workspace_id)
        rows, following = page_of(tasks, cursor=given.cursor, limit=given.limit)
        return TaskList(tasks=[ListedTask.of(task) for task in rows], next=following)


async def _submit(caller: Caller, given: SubmitInput) -> Submitted:
    return await run_in_thread(_submit_now, caller, given)


async def _get(caller: Caller, given: TaskInput) -> TaskState:
    return TaskState.of(await run_in_thread(_read_now, caller, given.task_id))


async def _list(caller: Caller, given: TaskListInput) -> TaskList:
    return await run_in_thread(_list_now, caller, given)


async def _cancel(caller: Caller, given: TaskInput) -> TaskState:
    return await run_in_thread(_cancel_now, caller, given.task_id)


async def _wait(caller: Caller, given: WaitInput) -> TaskState:
    """Look again and again, holding neither a thread nor a connection in between."""
    if given.task_id == caller.task_id:
        raise Conflict("This is your own task: it ends when you answer, so do not wait for it.")
    deadline = time.monotonic() + given.timeout_s
    pause_s = _FIRST_PAUSE_S
    while True:
        task = await run_in_thread(_read_now, caller, given.task_id)
        left_s = deadline - time.monotonic()
        if task.status in FINAL or left_s <= 0:
            return TaskState.of(task)
        if task.workspace_id == caller.workspace_id:
            raise Conflict(
                "This task is in your own workspace and starts only after you have ended. Do not wait."
            )
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


TASK_TOOLS = (
    Tool(
        "task_submit",
        "Give a piece of work to an agent, who does it in a sandbox of its own while you go on. Returns at once; fetch "
        "the answer with task_wait. Work can be passed on at most five times in a row, and what it costs counts "
        "towards your own budget.",
        SubmitInput,
        Submitted,
        _submit,
    ),
    Tool(
        "task_wait",
        f"Wait until a task has ended, at most {MAX_WAIT_S} seconds, and return its state and answer. If `is_finished` "
        "is false, it is still at work: call again.",
        WaitInput,
        TaskState,
        _wait,
        reads_only=True,
    ),
    Tool(
        "task_get",
        "Look at a task without waiting: its status, and its answer if it has ended.",
        TaskInput,
        TaskState,
        _get,
        reads_only=True,
    ),
    Tool(
        "task_list",
        "List the tasks of the person you work for, the newest first; yours are among them.",
        TaskListInput,
        TaskList,
        _list,
        reads_only=True,
    ),
    Tool(
        "task_cancel",
        "Cancel a task that you submitted, or another one of the person you work for. One that is at work needs a "
        "moment to stop.",
        TaskInput,
        TaskState,
        _cancel,
        destroys=True,
    ),
)
