"""Short ways to the states that several domain tests start from."""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import SecretStr

from conftest import Tenant
from services.domain.actors import Actor
from services.domain.integrations.actions import NewIntegration, connect_integration
from services.domain.llm.keys import NewKey, create_key
from services.domain.llm.models import KeyStatus, LlmVendor
from services.domain.plane.actions import Taken, Wanted, take_sandbox
from services.domain.plane.hosts import register_host
from services.domain.tasks.dispatch import claim_task
from services.domain.tasks.models import Task
from services.domain.tasks.runner import JournalEntry, store_journal
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import NewUpstream, register_upstream
from services.domain.vault.accesses import Access, Keeper, Used
from services.domain.vault.actions import create_secret
from services.domain.vault.fields import NewSecret
from services.domain.vault.grants import list_granted_secrets, open_secret
from services.domain.vault.models import AccessWay, Secret


def submit(tenant: Tenant, prompt: str = "true", **order: Any) -> Task:
    """Submit a task of the tenant's owner to its shell agent, or to the workspace that is named."""
    if "workspace_id" not in order:
        order["agent_id"] = tenant.agent.id
    return submit_task(tenant.owner, TaskOrder(prompt=prompt, **order), source="api")


def wanted(task: Task) -> Wanted:
    """Return what a task wants of a sandbox."""
    return Wanted(
        org_id=task.org_id,
        workspace_id=task.workspace_id,
        task_id=task.id,
        image="image:1",
    )


def start(task: Task, *, slots: int = 8) -> Taken:
    """Take a sandbox on the test host and claim the task for it."""
    register_host("testhost", driver="null", slots=slots)
    taken = take_sandbox("testhost", wanted(task))
    assert taken is not None
    assert claim_task(task, taken.sandbox.id) is not None
    return taken


class Runner:
    """Plays the runner of one sandbox: numbers its entries and stores them."""

    def __init__(self, task: Task, sandbox_id: uuid.UUID) -> None:
        self.task, self.sandbox_id = task, sandbox_id
        self.journal, self.n = uuid.uuid4(), 0

    def entry(self, entry_type: str, **data: Any) -> JournalEntry:
        """Make the next entry."""
        self.n += 1
        return JournalEntry(n=self.n, turn=self.task.id, type=entry_type, data=data)

    def store(self, *entries: JournalEntry) -> int:
        """Store entries; returns up to where the journal is stored."""
        return store_journal(self.task.org_id, self.sandbox_id, self.journal, entries).n

    def says(self, entry_type: str, **data: Any) -> int:
        """Make and store one entry."""
        return self.store(self.entry(entry_type, **data))


def running(tenant: Tenant, **order: Any) -> tuple[Task, Runner]:
    """Submit and start a task whose runner has reported the start of its turn."""
    task = submit(tenant, **order)
    runner = Runner(task, start(task).sandbox.id)
    runner.says("turn.started", provider="shell")
    return task, runner


def fresh(task: Task) -> Task:
    """Read a task again."""
    with tenant_transaction(task.org_id):
        return Task.objects.get(id=task.id)


def granted(tenant: Tenant, user_id: uuid.UUID | None = None) -> dict[str, str]:
    """Return what the work of the tenant's agent for a person may use, by name."""
    with tenant_transaction(tenant.organisation.id):
        return {row.name: open_secret(row) for row in list_granted_secrets(tenant.agent, user_id)}


def keep(actor: Actor, *, name: str = "TOKEN", value: str = "value-of-the-token", **fields: Any) -> Secret:
    """Keep a secret."""
    return create_secret(actor, NewSecret.model_validate({"name": name, "value": value, **fields}))


def keep_one_of_each(tenant: Tenant) -> dict[str, Keeper]:
    """Keep one credential of each kind, all of them the organisation's."""
    account = NewIntegration(
        kind="calendar",
        name="work",
        settings={"url": "https://dav.example.com/", "user": "alice"},
        credentials={"password": "hush"},
        is_personal=False,
    )
    server = NewUpstream(name="weather", url="https://mcp.example.com/", auth="header", credential="hush")
    key = NewKey(name="ours", vendor=LlmVendor.ANTHROPIC, key=SecretStr("sk-ant-own-key"))
    return {
        "secret": keep(tenant.owner),
        "account": connect_integration(tenant.owner, account),
        "mcp_server": register_upstream(tenant.owner, server),
        "model_key": create_key(tenant.owner, key, KeyStatus.OK),
    }


def use_of(task: Task, row: Keeper, **fields: Any) -> Access:
    """Return a use of a credential by a task."""
    return Access.by_task(task, Used.of(row), AccessWay.UPSTREAM, host="api.example.com", **fields)
