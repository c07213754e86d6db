"""Who calls: the task whose token a request carries."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

from services.domain.actors import Actor
from services.domain.errors import TokenInvalid
from services.domain.tasks.models import Task
from services.domain.tasks.queries import agent_actor, all_tenants_find_task_token
from services.mcp_gateway.caller_cache import CALLERS
from services.mcp_gateway.threads import run_in_thread


@dataclass(frozen=True, slots=True)
class Caller:
    """An agent at work, as the token of its task shows it."""

    task: Task

    @property
    def actor(self) -> Actor:
        """Return the agent as an actor, with the narrow rights of an agent."""
        return agent_actor(self.task)

    @property
    def agent_id(self) -> uuid.UUID:
        """Return the agent in whose namespace the call works."""
        return self.task.agent_id

    @property
    def task_id(self) -> uuid.UUID | None:
        """Return the task that is under way, if one is."""
        return self.task.id

    @property
    def workspace_id(self) -> uuid.UUID | None:
        """Return the workspace of the task that is under way, if one is."""
        return self.task.workspace_id


def bearer_token(headers: Headers) -> str:
    """Return the token of the Authorization header, or an empty text."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def authenticate(scope: Scope, token: str, audience: str) -> Caller:
    """Return the caller behind a token.

    On a sandbox's socket only the tokens of the task at work in it are good: a token that leaks is of no use in
    another. A token that was good is good for a moment longer without asking, unless its task has ended (ADR 0013).
    Raises: TokenInvalid, for all reasons alike.
    """
    caller = CALLERS.find(token, audience) or await _look_up(token, audience)
    sandbox_id = scope.get("state", {}).get("sandbox_id")
    if sandbox_id is not None and str(caller.task.sandbox_id) != sandbox_id:
        raise TokenInvalid("The token is unknown, expired or for something else.")
    return caller


async def _look_up(token: str, audience: str) -> Caller:
    with CALLERS.lookup(token, audience) as looking:
        row = await run_in_thread(all_tenants_find_task_token, token, audience)
        caller = Caller(row.task)
        CALLERS.keep(looking, caller, row.expires_at)
    return caller
