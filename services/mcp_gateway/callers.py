"""Who calls: an agent at work, whose task's token a request carries, or a person's own program."""

from __future__ import annotations

import abc
import uuid
from dataclasses import dataclass
from typing import Any, final

from starlette.datastructures import Headers
from starlette.types import Scope

from services.domain.actors import Actor
from services.domain.approvals.subjects import SeenFile
from services.domain.errors import AgentMissing, Conflict, TokenInvalid
from services.domain.tasks.models import Task
from services.domain.tasks.queries import agent_actor, all_tenants_find_task_token
from services.domain.vault.accesses import Access, Used
from services.domain.vault.models import AccessWay
from services.mcp_gateway.caller_cache import CALLERS
from services.mcp_gateway.threads import run_in_thread


class NeedsTask(Conflict):
    """The tool does something with the task that is under way, and the caller is a person's own program."""

    code = "needs_task"


class Caller(abc.ABC):
    """Whoever calls a tool: an `AgentCaller` or a `PersonCaller`, and nobody else.

    A tool that asks for `task` serves agents only; a person's program is told so.
    """

    __slots__ = ()

    @property
    @abc.abstractmethod
    def actor(self) -> Actor:
        """Return who acts, with the narrow rights of this caller."""

    @property
    @abc.abstractmethod
    def task(self) -> Task:
        """Return the task that is under way. Raises: NeedsTask for a person's program."""

    @property
    @abc.abstractmethod
    def agent_id(self) -> uuid.UUID:
        """Return the agent in whose namespace the call works. Raises: AgentMissing when a person named none."""

    @abc.abstractmethod
    def access(self, used: Used, way: AccessWay, **where: Any) -> Access:
        """Return one use of a credential for this caller, as the log of uses has it."""

    @property
    def task_id(self) -> uuid.UUID | None:
        """Return the task that is under way, if one is."""
        return None

    @property
    def workspace_id(self) -> uuid.UUID | None:
        """Return the workspace of the task that is under way, if one is."""
        return None

    @property
    def allowed_files(self) -> tuple[SeenFile, ...] | None:
        """Return the files that people saw when they allowed this call; None where nobody was asked."""
        return None


@final
@dataclass(frozen=True, slots=True)
class AgentCaller(Caller):
    """An agent at work, as the token of its task shows it."""

    at_work_on: Task
    seen_files: tuple[SeenFile, ...] | None = None

    @property
    def actor(self) -> Actor:
        """Return the agent as an actor, with the narrow rights of an agent."""
        return agent_actor(self.at_work_on)

    @property
    def task(self) -> Task:
        """Return the agent's task."""
        return self.at_work_on

    @property
    def agent_id(self) -> uuid.UUID:
        """Return the agent itself."""
        return self.at_work_on.agent_id

    def access(self, used: Used, way: AccessWay, **where: Any) -> Access:
        """Return a use by the task."""
        return Access.by_task(self.at_work_on, used, way, **where)

    @property
    def task_id(self) -> uuid.UUID | None:
        """Return the agent's task."""
        return self.at_work_on.id

    @property
    def workspace_id(self) -> uuid.UUID | None:
        """Return where the agent works."""
        return self.at_work_on.workspace_id

    @property
    def allowed_files(self) -> tuple[SeenFile, ...] | None:
        """Return the files that people saw when they allowed this call; None where nobody was asked."""
        return self.seen_files


@final
@dataclass(frozen=True, slots=True)
class PersonCaller(Caller):
    """A person's own program: that person's rights, narrowed by what was allowed to it."""

    person: Actor
    namespace: uuid.UUID | None

    @property
    def actor(self) -> Actor:
        """Return the person as an actor, with the rights that the program was given."""
        return self.person

    @property
    def task(self) -> Task:
        """Refuse: no task is under way."""
        raise NeedsTask(
            "This works only from within a running task, and you are a person's own program, which has none."
        )

    @property
    def agent_id(self) -> uuid.UUID:
        """Return the agent that the person chose. Raises: AgentMissing."""
        if self.namespace is None:
            raise AgentMissing(
                "No agent is chosen. Name one in the call where the tool takes one; a program with an API token sends "
                "its id as the header X-Slipway-Agent, any other is connected anew."
            )
        return self.namespace

    def access(self, used: Used, way: AccessWay, **where: Any) -> Access:
        """Return a use by the person, outside of any task."""
        return Access.by_person(self.person, used, way, **where)


def bearer_token(headers: Headers) -> str:
    """Return the token of the Authorization header, or an empty text."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def authenticate(scope: Scope, token: str, audience: str) -> AgentCaller:
    """Return the agent behind a task's token.

    On a sandbox's socket only the tokens of the task at work in it are good: a token that leaks is of no use in
    another. A token that was good is good for a moment longer without asking, unless its task has ended (ADR 0013).
    Raises: TokenInvalid, for all reasons alike.
    """
    caller = CALLERS.find(token, audience) or await _look_up(token, audience)
    sandbox_id = scope.get("state", {}).get("sandbox_id")
    if sandbox_id is not None and str(caller.task.sandbox_id) != sandbox_id:
        raise TokenInvalid("The token is unknown, expired or for something else.")
    return caller


async def _look_up(token: str, audience: str) -> AgentCaller:
    with CALLERS.lookup(token, audience) as looking:
        row = await run_in_thread(all_tenants_find_task_token, token, audience)
        caller = AgentCaller(row.task)
        CALLERS.keep(looking, caller, row.expires_at)
    return caller
