"""What the page of one workspace shows: the conversation up to now, what waits for whom, and the composer."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.api.dashboard.approvals_shown import Shown, show_approval
from services.api.dashboard.conversation import Conversation, Message, complete, fold
from services.api.dashboard.forms.tasks import NextPromptForm
from services.domain.actors import Actor, may
from services.domain.agents.models import Provider
from services.domain.agents.queries import list_agents_by_name
from services.domain.approvals.queries import list_held_in
from services.domain.events.log import get_heads, list_events
from services.domain.llm.catalogue import UsableModel, list_usable_models
from services.domain.questions.models import Question
from services.domain.questions.queries import list_open_questions
from services.domain.tasks.models import Task
from services.domain.tasks.queries import UsedSoFar, list_unfinished_tasks, sum_usage
from services.domain.tasks.tree import find_workspace_tree
from services.domain.workspaces.models import Workspace
from services.domain.workspaces.queries import get_workspace
from services.kit.environment import environment

DEPTH = 1_000
MAX_DEPTH = 20_000
_WITHOUT_MODEL = (Provider.SHELL, Provider.SCRIPTED)


@dataclass(frozen=True, slots=True)
class Work:
    """A task that has not ended: what it waits for, in words, and what it has used so far."""

    task: Task
    waits_for: str
    used: UsedSoFar


@dataclass(frozen=True, slots=True)
class Waits:
    """What a workspace is at, and what in it waits for a person's word."""

    work: list[Work]
    questions: list[Question]
    held: list[Shown]


def describe(
    actor: Actor, workspace_id: uuid.UUID, form: NextPromptForm | None, query: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the page's template reads; in the tenant's transaction. Raises: WorkspaceMissing."""
    found = get_workspace(actor, workspace_id)
    depth = _depth(str(query.get("depth", "")))
    unfinished = list_unfinished_tasks(actor, workspace_id)
    conversation, has_earlier = read_conversation(found, depth)
    complete(conversation, unfinished)
    return {
        "workspace": found,
        "tree": find_workspace_tree(actor, workspace_id),
        "form": form or next_prompt_form(actor, found, None, prompt=_asked(conversation, query)),
        "models": _models_of(actor, found),
        "conversation": conversation,
        "sandbox_state": conversation.sandbox_state or found.sandbox_state,
        "waits": find_waits(actor, workspace_id, unfinished),
        "deeper": min(depth + DEPTH, MAX_DEPTH) if has_earlier and depth < MAX_DEPTH else None,
        "realtime": environment().realtime_public_url.rstrip("/"),
    }


def find_waits(actor: Actor, workspace_id: uuid.UUID, unfinished: list[Task]) -> Waits:
    """Return what waits in a workspace; in the tenant's transaction."""
    used = sum_usage(unfinished)
    questions = list_open_questions(actor, workspace_id)
    held = [show_approval(actor, row) for row in list_held_in(actor, workspace_id)]
    work = [
        Work(task, _waits_for(task, is_first=at == 0), used.get(task.id, UsedSoFar()))
        for at, task in enumerate(unfinished)
    ]
    return Waits(work, questions, held)


def next_prompt_form(
    actor: Actor, workspace: Workspace, posted: Mapping[str, Any] | None, *, prompt: str = ""
) -> NextPromptForm:
    """Return the composer; in the tenant's transaction."""
    return NextPromptForm(
        posted, agents=list_agents_by_name(actor), agent=workspace.agent, initial={"prompt": prompt}
    )


def read_conversation(found: Workspace, depth: int) -> tuple[Conversation, bool]:
    """Return what a workspace's last events tell, and whether there are earlier ones."""
    oldest, head = get_heads([found.stream]).get(found.stream, (1, 0))
    after = max(head - depth, 0)
    conversation = fold(list_events(found.stream, after=after, limit=depth))
    conversation.last_seq = max(conversation.last_seq, after)
    return conversation, after >= oldest


def _models_of(actor: Actor, workspace: Workspace) -> list[UsableModel]:
    if workspace.agent.provider in _WITHOUT_MODEL or not may(actor, "models:read"):
        return []
    return list_usable_models(actor)


def _waits_for(task: Task, *, is_first: bool) -> str:
    match task.status:
        case "waiting":
            return "waits for a person's word"
        case "queued":
            return "waits for a place to run" if is_first else "waits for the turn before it"
        case "starting":
            return "starts"
    return "stops" if task.cancel_requested_at else "is at work"


def _asked(conversation: Conversation, query: Mapping[str, Any]) -> str:
    """Return what a turn that somebody wants to change and send again was asked."""
    turn = conversation.turns.get(str(query.get("edit", "")))
    items = turn.items if turn is not None else []
    return next((item.text for item in items if isinstance(item, Message) and item.role == "user"), "")


def _depth(text: str) -> int:
    wanted = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else DEPTH
    return max(DEPTH, min(wanted, MAX_DEPTH))
