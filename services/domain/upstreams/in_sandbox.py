"""Servers that run in the agent's sandbox: what may be started there, and what a turn says of them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.domain.agents.models import Provider
from services.domain.errors import Invalid, UpstreamInSandbox
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.models import UpstreamServer, UpstreamTransport
from services.domain.upstreams.queries import usable_by
from services.domain.upstreams.tools import UNSTORABLE
from services.domain.vault.fields import check_name

MAX_COMMAND_CHARS = 300
MAX_ARGS = 50
MAX_VARIABLES = 50
MAX_ALL_BYTES = 16_384
"""Of arguments and environment together. An agent lists 20 servers at most, and a turn's frame has to hold them."""
_COMMAND = re.compile(r"[^\s\x00-\x1f\x7f-][^\s\x00-\x1f\x7f]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}")
_RUNNERS_OWN = "SLIPWAY_"


def check_program(
    command: str, args: Sequence[str], env: Mapping[str, str], secrets: Mapping[str, str]
) -> None:
    """Refuse what no process can be started with. It is an argv: nothing in it is expanded. Raises: Invalid."""
    if not command:
        raise _invalid("command", "the program is needed")
    if not _COMMAND.fullmatch(command) or UNSTORABLE.search(command):
        raise _invalid(
            "command", "the program alone, without spaces: no shell reads it; its arguments are `args`"
        )
    if any(UNSTORABLE.search(text) for text in args):
        raise _invalid("args", "text without NUL")
    if any(UNSTORABLE.search(text) for text in env.values()):
        raise _invalid("env", "text without NUL")
    for field, names in (("env", env), ("env_secrets", secrets)):
        if any(not _VARIABLE.fullmatch(name) or name.startswith(_RUNNERS_OWN) for name in names):
            raise _invalid(field, f"names of letters, digits and _, none of which begins with {_RUNNERS_OWN}")
    if twice := sorted(set(env) & set(secrets)):
        raise _invalid("env_secrets", f"also in env: {', '.join(twice)[:300]}")
    for name in secrets.values():
        try:
            check_name(name)
        except Invalid as error:
            raise _invalid("env_secrets", "a value is the name of a secret of the vault") from error
    texts = [*args, *env, *env.values(), *secrets, *secrets.values()]
    if sum(len(text.encode()) for text in texts) > MAX_ALL_BYTES:
        raise _invalid("args", f"arguments and environment have at most {MAX_ALL_BYTES} bytes together")


def refuse_in_sandbox(server: UpstreamServer) -> None:
    """Refuse what only a server elsewhere can be asked. Raises: UpstreamInSandbox."""
    if server.is_in_sandbox:
        raise UpstreamInSandbox(f"{server.name} runs in the agent's sandbox: it cannot be asked from here.")


def list_sandbox_servers(user_id: uuid.UUID | None, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return those of the named servers that run in the sandbox of work for a person, as a turn's frame has them.

    In the names' order, in the tenant's transaction. No secret is in it: the frame has those of the agent elsewhere.
    """
    if not names:
        return []
    rows = UpstreamServer.objects.filter(
        usable_by(user_id), transport=UpstreamTransport.STDIO, name__in=names
    )
    return [
        {
            "name": row.name,
            "command": row.command,
            "args": row.args,
            "env": row.env,
            "secrets": row.env_secrets,
            "allowed_tools": row.allowed_tools,
            "timeout_s": row.timeout_s,
        }
        for row in sorted(rows, key=lambda row: names.index(row.name))
    ]


@dataclass(frozen=True, slots=True)
class SandboxTools:
    """Which names of tools, as a provider says them, are of servers that run in the sandbox of a task."""

    provider: str
    servers: tuple[str, ...]
    """All that the agent lists, wherever they run."""
    allowed: Mapping[str, Sequence[str] | None]
    """The tools of those that run in the sandbox; None for all."""

    def find(self, name: str) -> tuple[str, str, bool] | None:
        """Return the server and the tool of a name and whether that tool is served; None for what runs elsewhere."""
        before, between = ("", "_") if self.provider == Provider.OPENCODE else ("mcp__", "__")
        # The longest first: a server's name may begin with another's.
        for server in sorted(self.servers, key=len, reverse=True):
            prefix = f"{before}{server}{between}"
            if name.startswith(prefix):
                tool = name.removeprefix(prefix)
                allowed = self.allowed.get(server)
                is_served = allowed is None or tool in allowed
                return (server, tool, is_served) if server in self.allowed else None
        return None


def load_sandbox_tools(org_id: uuid.UUID, task_id: uuid.UUID) -> SandboxTools:
    """Return what of a task's tools runs in its sandbox."""
    with tenant_transaction(org_id):
        task = Task.objects.select_related("agent").get(id=task_id)
        names = task.agent.mcp_servers
        found = list_sandbox_servers(task.user_id, names)
        allowed = {server["name"]: server["allowed_tools"] for server in found}
        return SandboxTools(task.agent.provider, tuple(names), allowed)


def _invalid(field: str, reason: str) -> Invalid:
    return Invalid("This program cannot be started.", fields={field: reason})
