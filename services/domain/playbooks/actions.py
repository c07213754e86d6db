"""Creating, changing and firing playbooks."""

from __future__ import annotations

import hashlib
import hmac
import time
import uuid
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.domain.actors import Actor, require, system_actor
from services.domain.agents.actions import get_usable_agent
from services.domain.chats.places import check_deliver_to
from services.domain.errors import (
    HookReplayed,
    HookUnverified,
    PlaybookMissing,
    ScheduleInvalid,
    SlipwayError,
)
from services.domain.events.announcing import announce_change
from services.domain.events.listed import PlaybookChanged
from services.domain.outbox.jobs import FirePlaybook, enqueue
from services.domain.playbooks.made import check_agents_playbook, note_maker
from services.domain.playbooks.models import Playbook, PlaybookRun
from services.domain.playbooks.queries import playbooks_in_reach
from services.domain.playbooks.schedule import next_run
from services.domain.tasks.models import MAX_PROMPT_CHARS, Task, TaskMode
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.keyring import open_text, seal_text
from services.kit.clock import now
from services.kit.tokens import make_token

HOOK_WINDOW_S = 300
# More than a sender can use up by retrying one key within the window.
KEPT_SIGNATURES = 100


class PlaybookFields(BaseModel):
    """What a person may set on a playbook: a cron, or a moment; with neither only a hook or a person fires it."""

    model_config = ConfigDict(extra="forbid")

    agent_id: uuid.UUID
    name: str = Field(min_length=1, max_length=80)
    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARS)
    cron: str = Field(default="", max_length=100)
    timezone: str = Field(default="UTC", max_length=60)
    run_at: AwareDatetime | None = None
    is_enabled: bool = True
    keeps_workspace: bool = False
    deliver_to: dict[str, Any] | None = None
    max_budget_microusd: int | None = Field(default=None, ge=0, le=10**12)


def create_playbook(actor: Actor, fields: PlaybookFields) -> tuple[Playbook, str]:
    """Create a playbook; returns it with its hook's secret, which is shown this once.

    Raises: AgentMissing, AgentArchived, ScheduleInvalid, ChatMissing; for an agent also LoopStopped, Limited,
    NotPermitted.
    """
    require(actor, "playbooks:write")
    secret = make_token("whsec_")
    with tenant_transaction(actor.org_id):
        playbook = Playbook(org_id=actor.org_id, user_id=actor.user_id)
        _assign(actor, playbook, fields)
        note_maker(actor, playbook)
        check_agents_playbook(actor, playbook)
        sealed = seal_text(secret, playbook.id)
        playbook.sealed_hook_secret, playbook.hook_key_id = sealed.blob, sealed.key_id
        playbook.save()
        announce_change(PlaybookChanged, playbook, "created")
        return playbook, secret


def update_playbook(actor: Actor, playbook_id: uuid.UUID, changes: dict[str, Any]) -> Playbook:
    """Change some fields. Raises: PlaybookMissing, AgentMissing, ScheduleInvalid, ChatMissing."""
    require(actor, "playbooks:write")
    with tenant_transaction(actor.org_id):
        playbook = _lock(actor, playbook_id)
        current = {name: getattr(playbook, name) for name in PlaybookFields.model_fields}
        _assign(actor, playbook, PlaybookFields.model_validate(current | changes))
        if changes != {"is_enabled": False}:
            check_agents_playbook(actor, playbook)
        playbook.updated_at = now()
        playbook.save()
        announce_change(PlaybookChanged, playbook)
        return playbook


def delete_playbook(actor: Actor, playbook_id: uuid.UUID) -> None:
    """Delete a playbook and the record of its runs; their tasks stay. Raises: PlaybookMissing."""
    require(actor, "playbooks:write")
    with tenant_transaction(actor.org_id):
        playbook = _lock(actor, playbook_id)
        announce_change(PlaybookChanged, playbook, "deleted")
        playbook.delete()


def run_playbook(
    actor: Actor,
    playbook_id: uuid.UUID,
    *,
    trigger: str = "manual",
    key: str | None = None,
    payload_note: str = "",
    due_at: datetime | None = None,
) -> PlaybookRun:
    """Fire a playbook now, once for each key. A run that cannot be submitted is kept with its reason.

    Raises: PlaybookMissing.
    """
    require(actor, "playbooks:write")
    run_key = f"{trigger}:{key or uuid.uuid4()}"
    with tenant_transaction(actor.org_id):
        playbook = _lock(actor, playbook_id)
        run, is_new = PlaybookRun.objects.get_or_create(
            playbook=playbook,
            key=run_key,
            defaults={"org_id": actor.org_id, "trigger": trigger, "due_at": due_at},
        )
        if not is_new:
            # With its task, which cannot be read any more once this transaction is over.
            return PlaybookRun.objects.select_related("task").get(id=run.id)
        owner = Actor(
            org_id=actor.org_id,
            kind="system",
            role="member",
            user_id=playbook.user_id,
            # What an agent fires is passed on by its task: its hops and its budget count.
            task_id=actor.task_id,
        )
        try:
            with tenant_transaction(actor.org_id):
                run.task = _submit(owner, playbook, payload_note)
        except SlipwayError as error:
            run.error = f"{error.code}: {error.message}"[:300]
        run.save()
        return run


def fire_due_playbook(org_id: uuid.UUID, playbook_id: uuid.UUID, due_at: datetime) -> None:
    """Run a playbook for one due time; a second call for the same time does nothing."""
    try:
        run_playbook(
            system_actor(org_id), playbook_id, trigger="schedule", key=due_at.isoformat(), due_at=due_at
        )
    except PlaybookMissing:
        return


def all_tenants_claim_due_playbooks(*, limit: int = 200) -> int:
    """Turn playbooks that are due into jobs and set when they are due next; returns how many there were.

    One conditional row claim each (SKIP LOCKED), so that any number of these may run at once. A playbook that was due
    several times while the platform was down runs once, for the latest of them.
    """
    claimed = 0
    rows = Playbook.objects.using("operator").filter(is_enabled=True, next_run_at__lte=now())
    for playbook_id, org_id in rows.order_by("next_run_at").values_list("id", "org_id")[:limit]:
        with tenant_transaction(org_id):
            playbook = (
                Playbook.objects.select_for_update(skip_locked=True)
                .filter(id=playbook_id, is_enabled=True, next_run_at__lte=now())
                .first()
            )
            if playbook is None or playbook.next_run_at is None:
                continue
            enqueue(FirePlaybook(org_id=org_id, playbook_id=playbook_id, due_at=playbook.next_run_at))
            is_lasting = bool(playbook.cron)
            playbook.next_run_at = next_run(playbook.cron, playbook.timezone, now()) if is_lasting else None
            playbook.is_enabled = is_lasting
            playbook.save(update_fields=["next_run_at", "is_enabled"])
            announce_change(PlaybookChanged, playbook)
            claimed += 1
    return claimed


def all_tenants_accept_hook(
    playbook_id: uuid.UUID, *, signature: str, body: bytes, key: str | None
) -> PlaybookRun:
    """Fire a playbook by its signed webhook, once for each key and once for each signature.

    The same call with the same key is a retry and gets its first run. The key is not signed, so a signature that has
    fired a run fires no other, whatever key it comes with. Raises: PlaybookMissing, HookUnverified, HookReplayed.
    """
    row = (
        Playbook.objects.using("operator")
        .filter(id=playbook_id, is_enabled=True)
        .values_list("org_id", "sealed_hook_secret", "hook_key_id")
        .first()
    )
    org_id, sealed, key_id = row or (None, None, "")
    if org_id is None or sealed is None:
        raise PlaybookMissing("There is no such playbook.")
    used = verify_hook_signature(open_text(sealed, key_id, playbook_id), signature, body)
    run_key = (key or used)[:150]
    note = body.decode(errors="replace").replace("\x00", "\ufffd")[:20_000]
    with tenant_transaction(org_id):
        _lock(system_actor(org_id), playbook_id)
        earlier = PlaybookRun.objects.filter(playbook_id=playbook_id, signatures__contains=[used]).first()
        if earlier is not None and (key is None or earlier.key != f"hook:{run_key}"):
            raise HookReplayed("This signed call was taken already. A retry carries an Idempotency-Key.")
        run = run_playbook(system_actor(org_id), playbook_id, trigger="hook", key=run_key, payload_note=note)
        if used not in run.signatures:
            run.signatures = [*run.signatures, used][-KEPT_SIGNATURES:]
            run.save(update_fields=["signatures"])
        return run


def verify_hook_signature(secret: str, header: str, body: bytes, *, at: float | None = None) -> str:
    """Check `t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">`, within ±300 s, and return the HMAC.

    Raises: HookUnverified.
    """
    fields = dict(part.partition("=")[::2] for part in header.split(","))
    moment, given = fields.get("t", ""), fields.get("v1", "")
    if not (moment.isascii() and moment.isdigit() and len(moment) <= 12):
        raise HookUnverified("The signature is missing or unreadable.")
    if abs((at if at is not None else time.time()) - int(moment)) > HOOK_WINDOW_S:
        raise HookUnverified("The signature is too old or from the future.")
    wanted = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted.encode(), given.encode()):
        raise HookUnverified("The signature does not match.")
    return wanted


def _assign(actor: Actor, playbook: Playbook, fields: PlaybookFields) -> None:
    get_usable_agent(actor, fields.agent_id)
    if fields.cron and fields.run_at is not None:
        raise ScheduleInvalid(
            "A playbook has a schedule or one moment, not both.", fields={"run_at": "with cron"}
        )
    check_deliver_to(fields.deliver_to)
    names = ("cron", "timezone", "is_enabled", "run_at")
    changed = any(getattr(playbook, name) != getattr(fields, name) for name in names)
    for name, value in fields.model_dump().items():
        setattr(playbook, name, value)
    if fields.cron:
        due = next_run(fields.cron, fields.timezone, now())
        if changed or playbook.next_run_at is None:
            playbook.next_run_at = due
    elif fields.run_at is not None and fields.is_enabled and (changed or playbook.next_run_at is None):
        if fields.run_at <= now():
            raise ScheduleInvalid("The time to run at has passed.", fields={"run_at": "in the past"})
        playbook.next_run_at = fields.run_at
    if not fields.is_enabled or not (fields.cron or fields.run_at):
        playbook.next_run_at = None


def _submit(actor: Actor, playbook: Playbook, payload_note: str) -> Task:
    prompt = playbook.prompt
    if payload_note:
        prompt = f"{prompt}\n\nThe webhook that fired this carried:\n{payload_note}"
    keeps = playbook.keeps_workspace
    reused = (
        playbook.workspace_id if keeps and playbook.workspace and not playbook.workspace.archived_at else None
    )
    order = TaskOrder(
        agent_id=None if reused else playbook.agent_id,
        workspace_id=reused,
        prompt=prompt,
        mode=TaskMode.SESSION if keeps else TaskMode.BATCH,
        deliver_to=playbook.deliver_to,
        max_budget_microusd=playbook.max_budget_microusd,
    )
    task = submit_task(actor, order, source="playbook", hops=playbook.hops)
    if keeps and playbook.workspace_id != task.workspace_id:
        playbook.workspace_id = task.workspace_id
        playbook.save(update_fields=["workspace"])
    return task


def _lock(actor: Actor, playbook_id: uuid.UUID) -> Playbook:
    # Only this row: the nullable joins of select_related cannot be locked.
    playbook = Playbook.objects.select_for_update().filter(playbooks_in_reach(actor), id=playbook_id).first()
    if playbook is None:
        raise PlaybookMissing("There is no such playbook.")
    return playbook
