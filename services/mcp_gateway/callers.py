"""Who calls: the task whose token a request carries."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

from services.domain.actors import Actor
from services.domain.errors import TokenInvalid
from services.domain.tasks.models import Task
from services.domain.tasks.queries import agent_actor, all_tenants_authenticate_task_token
from services.mcp_gateway.threads import run_in_thread


@dataclass(frozen=True, slots=True)
class Caller:
    """An agent at work, as the token of its task shows it."""

    task: Task

    @property
    def actor(self) -> Actor:
        """Return the agent as an actor, with the narrow rights of an agent."""
        return agent_actor(self.task)


def bearer_token(headers: Headers) -> str:
    """Return the token of the Authorization header, or an empty text."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def authenticate(scope: Scope, token: str, audience: str) -> Caller:
    """Return the caller behind a token.

    On a sandbox's socket only the tokens of the task at work in it are good: a token that leaks is of no use in
    another. Nothing is remembered between calls, so that a token dies with its task.
    Raises: TokenInvalid, for all reasons alike.
    """
    return await run_in_thread(_find_caller, token, audience, scope.get("state", {}).get("sandbox_id"))


def _find_caller(token: str, audience: str, sandbox_id: str | None) -> Caller:
    task = all_tenants_authenticate_task_token(token, audience)
    if sandbox_id is not None and str(task.sandbox_id) != sandbox_id:
        raise TokenInvalid("The token is unknown, expired or for something else.")
    return Caller(task)
