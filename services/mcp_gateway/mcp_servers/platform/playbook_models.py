"""What the playbook tools take and give."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated

from pydantic import Field

from services.domain.playbooks.models import Playbook, PlaybookRun
from services.domain.tasks.models import MAX_PROMPT_CHARS
from services.kit.clock import rfc3339
from services.mcp_gateway.mcp_servers.platform.common import (
    AgentName,
    Cursor,
    Limit,
    Next,
    Usd,
    moment,
    to_usd,
)
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

PlaybookId = Annotated[uuid.UUID, Field(description="The `playbook_id` of a playbook from playbook_list.")]
Name = Annotated[
    str, Field(min_length=1, max_length=80, description="What people see.", examples=["Morning report"])
]
Prompt = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_PROMPT_CHARS,
        description="What the agent is asked each time. It sees nothing of your conversation.",
        examples=["Read the mail of the last day and send me a summary of five lines."],
    ),
]
Cron = Annotated[
    str,
    Field(
        max_length=100,
        description="Five fields: minute, hour, day of the month, month, day of the week; read in `timezone`. Empty "
        "for none. At most every five minutes.",
        examples=["30 7 * * 1-5"],
    ),
]
Timezone = Annotated[
    str,
    Field(
        min_length=1,
        max_length=60,
        description="The name of a time zone; its summer time counts.",
        examples=["Europe/Berlin"],
    ),
]
RunAt = Annotated[
    datetime | None,
    Field(
        description="The one moment at which to run; without an offset it is read in `timezone`.",
        examples=["2027-01-31T09:00:00"],
    ),
]
Keeps = Annotated[
    bool,
    Field(description="Whether each run goes on in the same workspace, with what the run before left there."),
]


class CreateInput(ToolInput):
    name: Name
    prompt: Prompt
    agent: AgentName = None
    cron: Cron = ""
    timezone: Timezone = "UTC"
    keeps_workspace: Keeps = False
    max_budget_usd: Usd = None


class ScheduleInput(ToolInput):
    prompt: Prompt
    run_at: RunAt = None
    cron: Cron = ""
    timezone: Timezone = "UTC"
    name: Name | None = None
    agent: AgentName = None


class UpdateInput(ToolInput):
    playbook_id: PlaybookId
    name: Name | None = None
    prompt: Prompt | None = None
    agent: AgentName = None
    cron: Cron | None = None
    run_at: RunAt = None
    timezone: Timezone | None = None
    keeps_workspace: Keeps | None = None
    max_budget_usd: Usd = None


class PlaybookInput(ToolInput):
    playbook_id: PlaybookId


class RunInput(ToolInput):
    playbook_id: PlaybookId


class PlaybookListInput(ToolInput):
    limit: Limit = 50
    cursor: Cursor = None


class RunsInput(ToolInput):
    playbook_id: PlaybookId
    limit: Limit = 20
    cursor: Cursor = None


class ListedPlaybook(ToolOutput):
    playbook_id: str = Field(description="The playbook's id.")
    name: str = Field(description="What people see.")
    agent: str = Field(description="The slug of the agent that is asked.")
    cron: str = Field(description="Its schedule; empty for none.")
    run_at: str | None = Field(description="The one moment at which it runs, in UTC, if it has one.")
    timezone: str = Field(description="The zone in which the schedule is read.")
    is_enabled: bool = Field(description="Whether it runs by itself; a paused one does not.")
    next_run_at: str | None = Field(description="When it runs next, in UTC.")
    is_made_by_agent: bool = Field(description="Whether an agent made it.")

    @classmethod
    def of(cls, playbook: Playbook) -> ListedPlaybook:
        """Describe a playbook that was read with its agent."""
        return cls(**_listed(playbook))


class OnePlaybook(ListedPlaybook):
    prompt: str = Field(description="What the agent is asked.")
    keeps_workspace: bool = Field(description="Whether each run goes on in the same workspace.")
    max_budget_usd: str | None = Field(description="The most that a run may cost, in US dollars.")

    @classmethod
    def of(cls, playbook: Playbook) -> OnePlaybook:
        """Describe a playbook that was read with its agent."""
        return cls(
            **_listed(playbook),
            prompt=playbook.prompt,
            keeps_workspace=playbook.keeps_workspace,
            max_budget_usd=to_usd(playbook.max_budget_microusd),
        )


class PlaybookList(ToolOutput):
    playbooks: list[ListedPlaybook] = Field(description="The playbooks, the newest first.")
    next: Next


class ListedRun(ToolOutput):
    run_id: str = Field(description="The run's id.")
    playbook_id: str = Field(description="The playbook that ran.")
    task_id: str | None = Field(
        description="Its task, for task_get and task_wait; null if there could be none."
    )
    status: str | None = Field(description="The state of its task.")
    trigger: str = Field(description="What fired it: schedule, hook or manual.")
    error: str = Field(description="Why there is no task.")
    created_at: str = Field(description="When it ran, in UTC.")

    @classmethod
    def of(cls, run: PlaybookRun) -> ListedRun:
        """Describe a run that was read with its task."""
        return cls(
            run_id=str(run.id),
            playbook_id=str(run.playbook_id),
            task_id=str(run.task_id) if run.task_id else None,
            status=run.task.status if run.task is not None else None,
            trigger=run.trigger,
            error=run.error,
            created_at=rfc3339(run.created_at),
        )


class RunList(ToolOutput):
    runs: list[ListedRun] = Field(description="The runs, the newest first.")
    next: Next


class Deleted(ToolOutput):
    playbook_id: str = Field(description="The playbook that is gone; the tasks of its runs stay.")


def _listed(playbook: Playbook) -> dict[str, object]:
    return {
        "playbook_id": str(playbook.id),
        "name": playbook.name,
        "agent": playbook.agent.slug,
        "cron": playbook.cron,
        "run_at": moment(playbook.run_at),
        "timezone": playbook.timezone,
        "is_enabled": playbook.is_enabled,
        "next_run_at": moment(playbook.next_run_at),
        "is_made_by_agent": playbook.made_by_id is not None,
    }
