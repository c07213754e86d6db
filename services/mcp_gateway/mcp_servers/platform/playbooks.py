"""The tools about playbooks: work that a schedule, a moment or a call fires."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from services.domain.errors import Invalid
from services.domain.playbooks.actions import (
    PlaybookFields,
    create_playbook,
    delete_playbook,
    run_playbook,
    update_playbook,
)
from services.domain.playbooks.queries import get_playbook, list_playbooks, list_runs
from services.domain.playbooks.schedule import zone_of
from services.domain.tenancy.transaction import tenant_transaction
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.platform.common import agent_id_of, page_of, to_microusd
from services.mcp_gateway.mcp_servers.platform.playbook_models import (
    CreateInput,
    Deleted,
    ListedPlaybook,
    ListedRun,
    OnePlaybook,
    PlaybookInput,
    PlaybookList,
    PlaybookListInput,
    RunInput,
    RunList,
    RunsInput,
    ScheduleInput,
    UpdateInput,
)
from services.mcp_gateway.threads import run_in_thread

_NAME_CHARS = 60


def _create_now(caller: Caller, given: CreateInput) -> OnePlaybook:
    with tenant_transaction(caller.actor.org_id):
        fields = PlaybookFields(
            agent_id=agent_id_of(caller, given.agent),
            name=given.name,
            prompt=given.prompt,
            cron=given.cron,
            timezone=given.timezone,
            keeps_workspace=given.keeps_workspace,
            deliver_to=_place_of(caller),
            max_budget_microusd=to_microusd(given.max_budget_usd),
        )
        playbook, _ = create_playbook(caller.actor, fields)
        return _shown(caller, playbook.id)


def _schedule_now(caller: Caller, given: ScheduleInput) -> OnePlaybook:
    if bool(given.cron) == (given.run_at is not None):
        raise Invalid("Give either `run_at`, for once, or `cron`, for again and again.")
    with tenant_transaction(caller.actor.org_id):
        fields = PlaybookFields(
            agent_id=agent_id_of(caller, given.agent),
            name=given.name or " ".join(given.prompt.split())[:_NAME_CHARS] or "Scheduled",
            prompt=given.prompt,
            cron=given.cron,
            timezone=given.timezone,
            run_at=_in_zone(given.run_at, given.timezone),
            deliver_to=_place_of(caller),
        )
        playbook, _ = create_playbook(caller.actor, fields)
        return _shown(caller, playbook.id)


def _update_now(caller: Caller, given: UpdateInput) -> OnePlaybook:
    with tenant_transaction(caller.actor.org_id):
        playbook = get_playbook(caller.actor, given.playbook_id)
        names = ("name", "prompt", "cron", "timezone", "keeps_workspace")
        changes: dict[str, Any] = {
            name: getattr(given, name) for name in names if getattr(given, name) is not None
        }
        if given.agent is not None:
            changes["agent_id"] = agent_id_of(caller, given.agent)
        if given.max_budget_usd is not None:
            changes["max_budget_microusd"] = to_microusd(given.max_budget_usd)
        if given.run_at is not None:
            changes["run_at"] = _in_zone(given.run_at, given.timezone or playbook.timezone)
            changes |= {"cron": "", "is_enabled": True}
        elif given.cron:
            changes["run_at"] = None
        if not changes:
            raise Invalid("Nothing is to be changed: give at least one field besides the id.")
        update_playbook(caller.actor, given.playbook_id, changes)
        return _shown(caller, given.playbook_id)


def _switch_now(caller: Caller, playbook_id: uuid.UUID, is_enabled: bool) -> OnePlaybook:
    with tenant_transaction(caller.actor.org_id):
        update_playbook(caller.actor, playbook_id, {"is_enabled": is_enabled})
        return _shown(caller, playbook_id)


def _shown(caller: Caller, playbook_id: uuid.UUID) -> OnePlaybook:
    return OnePlaybook.of(get_playbook(caller.actor, playbook_id))


def _get_now(caller: Caller, given: PlaybookInput) -> OnePlaybook:
    with tenant_transaction(caller.actor.org_id):
        return _shown(caller, given.playbook_id)


def _list_now(caller: Caller, given: PlaybookListInput) -> PlaybookList:
    with tenant_transaction(caller.actor.org_id):
        rows, following = page_of(list_playbooks(caller.actor), cursor=given.cursor, limit=given.limit)
        return PlaybookList(playbooks=[ListedPlaybook.of(row) for row in rows], next=following)


def _runs_now(caller: Caller, given: RunsInput) -> RunList:
    with tenant_transaction(caller.actor.org_id):
        runs = list_runs(caller.actor, given.playbook_id)
        rows, following = page_of(runs, cursor=given.cursor, limit=given.limit)
        return RunList(runs=[ListedRun.of(row) for row in rows], next=following)


def _place_of(caller: Caller) -> dict[str, Any] | None:
    """Return where the caller's own answer goes."""
    place: dict[str, Any] | None = caller.task.deliver_to if caller.task_id is not None else None
    return place


def _in_zone(when: datetime | None, timezone: str) -> datetime | None:
    if when is None or when.tzinfo is not None:
        return when
    return when.replace(tzinfo=zone_of(timezone)).astimezone(UTC)


async def create(caller: Caller, given: CreateInput) -> OnePlaybook:
    """Make a playbook."""
    return await run_in_thread(_create_now, caller, given)


async def schedule(caller: Caller, given: ScheduleInput) -> OnePlaybook:
    """Make a playbook that runs at a moment or by a schedule."""
    return await run_in_thread(_schedule_now, caller, given)


async def update(caller: Caller, given: UpdateInput) -> OnePlaybook:
    """Change a playbook."""
    return await run_in_thread(_update_now, caller, given)


async def get(caller: Caller, given: PlaybookInput) -> OnePlaybook:
    """Show a playbook."""
    return await run_in_thread(_get_now, caller, given)


async def list_all(caller: Caller, given: PlaybookListInput) -> PlaybookList:
    """List the playbooks."""
    return await run_in_thread(_list_now, caller, given)


async def pause(caller: Caller, given: PlaybookInput) -> OnePlaybook:
    """Keep a playbook from running by itself."""
    return await run_in_thread(_switch_now, caller, given.playbook_id, is_enabled=False)


async def resume(caller: Caller, given: PlaybookInput) -> OnePlaybook:
    """Let a playbook run by itself again."""
    return await run_in_thread(_switch_now, caller, given.playbook_id, is_enabled=True)


async def run(caller: Caller, given: RunInput) -> ListedRun:
    """Fire a playbook now."""
    return ListedRun.of(await run_in_thread(run_playbook, caller.actor, given.playbook_id))


async def list_of_one(caller: Caller, given: RunsInput) -> RunList:
    """List a playbook's runs."""
    return await run_in_thread(_runs_now, caller, given)


async def delete(caller: Caller, given: PlaybookInput) -> Deleted:
    """Delete a playbook."""
    await run_in_thread(delete_playbook, caller.actor, given.playbook_id)
    return Deleted(playbook_id=str(given.playbook_id))
