"""Playbooks and their runs over REST."""

from __future__ import annotations

import uuid
from typing import Any, Self

from pydantic import Field

from services.api.http.idempotency import IDEMPOTENCY_KEY, read_idempotency_key
from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.domain.errors import AgentArchived, AgentMissing, ChatMissing, PlaybookMissing, ScheduleInvalid
from services.domain.playbooks.actions import (
    PlaybookFields,
    create_playbook,
    delete_playbook,
    run_playbook,
    update_playbook,
)
from services.domain.playbooks.models import Playbook, PlaybookRun
from services.domain.playbooks.queries import get_playbook, list_playbooks, list_runs
from services.domain.tasks.models import MAX_PROMPT_CHARS
from services.kit.environment import environment

_REFUSALS = (AgentMissing, AgentArchived, ChatMissing, ScheduleInvalid)


class PlaybookChanges(PlaybookFields, Changes):
    """The fields to change; those that are not sent stay as they are."""

    agent_id: uuid.UUID = uuid.UUID(int=0)
    name: str = Field(default="", min_length=1, max_length=80)
    prompt: str = Field(default="", min_length=1, max_length=MAX_PROMPT_CHARS)


class PlaybookShape(Shape):
    """A prompt with its trigger. `hook_url` fires it when it is called with a signature."""

    id: uuid.UUID
    agent_id: uuid.UUID
    user_id: uuid.UUID | None
    name: str
    prompt: str
    cron: str
    timezone: str
    run_at: Moment | None
    is_enabled: bool
    keeps_workspace: bool
    workspace_id: uuid.UUID | None
    deliver_to: dict[str, Any] | None
    max_budget_microusd: int | None
    made_by_agent_id: uuid.UUID | None
    next_run_at: Moment | None
    hook_url: str
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, playbook: Playbook) -> Self:
        """Show a row."""
        others = ("hook_url", "made_by_agent_id")
        same = {name: getattr(playbook, name) for name in PlaybookShape.model_fields if name not in others}
        return cls(
            **same,
            made_by_agent_id=playbook.made_by_id,
            hook_url=f"{environment().public_url.rstrip('/')}/hooks/playbook/{playbook.id}",
        )


class NewPlaybookShape(PlaybookShape):
    """A playbook with the secret that signs its hook's calls, which is shown this once."""

    hook_secret: str

    @classmethod
    def with_secret(cls, playbook: Playbook, secret: str) -> Self:
        """Show a row together with its hook's secret."""
        return cls(**PlaybookShape.of(playbook).model_dump(), hook_secret=secret)


class RunShape(Shape):
    """One firing of a playbook: its task, or why there is none."""

    id: uuid.UUID
    playbook_id: uuid.UUID
    task_id: uuid.UUID | None
    trigger: str
    due_at: Moment | None
    error: str
    created_at: Moment

    @classmethod
    def of(cls, run: PlaybookRun) -> Self:
        """Show a row."""
        return cls.model_validate(run)


class PlaybookQuery(PageQuery):
    """Which playbooks."""

    agent_id: uuid.UUID | None = None


class Playbooks(Endpoint):
    """All playbooks."""

    tag = "playbooks"

    @operation()
    def get(self, call: Call, query: PlaybookQuery) -> Page[PlaybookShape]:
        """List the playbooks, newest first."""
        return page_of(list_playbooks(call.actor), query, PlaybookShape.of)

    @operation(status=201, errors=_REFUSALS)
    def post(self, call: Call, body: PlaybookFields) -> NewPlaybookShape:
        """Create a playbook. Its hook's secret is shown this once."""
        playbook, secret = create_playbook(call.actor, body)
        return NewPlaybookShape.with_secret(playbook, secret)


class OnePlaybook(Endpoint):
    """One playbook."""

    tag = "playbooks"

    @operation(errors=(PlaybookMissing,))
    def get(self, call: Call, playbook_id: uuid.UUID) -> PlaybookShape:
        """Show a playbook."""
        return PlaybookShape.of(get_playbook(call.actor, playbook_id))

    @operation(errors=(PlaybookMissing, *_REFUSALS))
    def patch(self, call: Call, playbook_id: uuid.UUID, body: PlaybookChanges) -> PlaybookShape:
        """Change a playbook's fields."""
        changes = body.model_dump(exclude_unset=True)
        return PlaybookShape.of(update_playbook(call.actor, playbook_id, changes))

    @operation(errors=(PlaybookMissing,))
    def delete(self, call: Call, playbook_id: uuid.UUID) -> None:
        """Delete a playbook; its tasks stay."""
        delete_playbook(call.actor, playbook_id)


class PlaybookRunNow(Endpoint):
    """Firing one playbook."""

    tag = "playbooks"

    @operation(status=202, errors=(PlaybookMissing,), headers=(IDEMPOTENCY_KEY,))
    def post(self, call: Call, playbook_id: uuid.UUID) -> RunShape:
        """Run a playbook now, once for each Idempotency-Key."""
        key = read_idempotency_key(call.headers[IDEMPOTENCY_KEY])
        return RunShape.of(run_playbook(call.actor, playbook_id, key=key))


class PlaybookRuns(Endpoint):
    """The runs of one playbook."""

    tag = "playbooks"

    @operation(errors=(PlaybookMissing,))
    def get(self, call: Call, playbook_id: uuid.UUID, query: PageQuery) -> Page[RunShape]:
        """List a playbook's runs, newest first."""
        return page_of(list_runs(call.actor, playbook_id), query, RunShape.of)
