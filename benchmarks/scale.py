"""A million events in one stream, 100,000 workspaces, a million playbooks: what people and ticks wait for, beside the
same in an empty system, on the same database before it was filled."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from benchmarks.rows import Row, row
from benchmarks.stacks import bare_servers

EVENTS = int(os.environ.get("SLIPWAY_BENCH_EVENTS", "1000000"))
WORKSPACES = int(os.environ.get("SLIPWAY_BENCH_WORKSPACES", "100000"))
PLAYBOOKS = int(os.environ.get("SLIPWAY_BENCH_PLAYBOOKS", "1000000"))
# So many are there at first: a page is then as full as later.
FEW = 1_200
PAGE = 500
ITEMS = 50
TIMES = 60
_WITHIN_S = 1_800.0

Work = Callable[[], Any]


def measure() -> dict[str, dict[str, float]]:
    """Return the milliseconds of each piece of work, empty and full; in a process of its own."""
    with bare_servers("scale"):
        system = System()
        system.fill(events=FEW, workspaces=FEW, playbooks=FEW)
        empty = {name: _ms(work) for name, work in system.works().items()}
        system.fill(events=EVENTS, workspaces=WORKSPACES, playbooks=PLAYBOOKS)
        full = {name: _ms(work) for name, work in system.works().items()}
        return {"empty": empty, "full": full}


class System:
    """One organisation, and how its tables are filled: by statements that copy a row that an action has made."""

    def __init__(self) -> None:
        from services.domain.agents.actions import AgentFields, create_agent
        from services.domain.identity.actions import all_tenants_create_organisation
        from services.domain.identity.models import User
        from services.domain.identity.queries import all_tenants_actor_of
        from services.domain.playbooks.actions import PlaybookFields, create_playbook
        from services.domain.tenancy.transaction import tenant_transaction
        from services.domain.workspaces.actions import create_workspace

        owner = User.objects.create_user("bench@example.com")
        organisation = all_tenants_create_organisation(slug="bench", name="Bench", owner=owner)
        self.actor = all_tenants_actor_of(owner, organisation.id)
        agent = create_agent(self.actor, AgentFields(name="Bench"))
        with tenant_transaction(organisation.id):
            self.workspace = create_workspace(self.actor, agent, source="api", is_persistent=True)
        fields = PlaybookFields(agent_id=agent.id, name="Nightly", prompt="true", cron="0 3 1 1 *")
        self.playbook, _ = create_playbook(self.actor, fields)
        self._head = 0

    def fill(self, *, events: int, workspaces: int, playbooks: int) -> None:
        """Bring the tables to so many rows, and let the planner know."""
        from django.db import connections

        from services.domain.events.models import Stream
        from services.domain.playbooks.models import Playbook
        from services.domain.workspaces.models import Workspace

        stream = self.workspace.stream
        rows = Stream.objects.using("operator")
        rows.get_or_create(org_id=self.actor.org_id, name=stream)
        with connections["operator"].cursor() as cursor:
            cursor.execute(
                "INSERT INTO event (org_id, stream, seq, type, at, data) SELECT %s, %s, n, 'message.created', now(), "
                """'{"role": "assistant", "text": "A sentence as an agent says it."}' FROM generate_series(%s, %s) n""",
                [self.actor.org_id, stream, self._head + 1, events],
            )
        self._head = events
        rows.filter(name=stream).update(head=events)
        self._copy(Workspace, self.workspace.id, workspaces)
        self._copy(Playbook, self.playbook.id, playbooks)
        import psycopg

        with psycopg.connect(os.environ["SLIPWAY_OWNER_DATABASE_URL"], autocommit=True) as owner:
            for table in ("event", "workspace", "playbook"):
                owner.execute(f"VACUUM ANALYZE {table}")

    def _copy(self, model: Any, row_id: uuid.UUID, up_to: int) -> None:
        from django.db import connections

        columns = [field.column for field in model._meta.concrete_fields if field.column != "id"]
        listed = ", ".join(columns)
        missing = up_to - model.objects.using("operator").count()
        with connections["operator"].cursor() as cursor:
            cursor.execute(
                # Names of our own models' tables and columns.
                f"INSERT INTO {model._meta.db_table} (id, {listed}) SELECT gen_random_uuid(), {listed} "  # noqa: S608
                f"FROM {model._meta.db_table}, generate_series(1, %s) WHERE id = %s",
                [missing, row_id],
            )

    def works(self) -> dict[str, Work]:
        """Return what is measured: each takes and gives as much in an empty system as in a full one."""
        from services.domain.events.log import all_tenants_heads, list_events
        from services.domain.playbooks.actions import all_tenants_claim_due_playbooks
        from services.domain.playbooks.queries import list_playbooks
        from services.domain.workspaces.queries import list_recent_workspaces, list_workspaces

        middle, stream = self._head // 2, self.workspace.stream

        def in_tenant(work: Work) -> Work:
            from services.domain.tenancy.transaction import tenant_transaction

            def run() -> Any:
                with tenant_transaction(self.actor.org_id):
                    return work()

            return run

        return {
            "page of events": in_tenant(lambda: list_events(stream, after=0, limit=PAGE)),
            "resume in the middle of the stream": in_tenant(
                lambda: list_events(stream, after=middle, limit=PAGE)
            ),
            "sweep of the heads": lambda: all_tenants_heads([stream]),
            "page of workspaces": in_tenant(
                lambda: list(list_workspaces(self.actor).order_by("-id")[:ITEMS])
            ),
            "workspaces active last": in_tenant(lambda: list_recent_workspaces(self.actor, limit=ITEMS)),
            "page of playbooks": in_tenant(lambda: list(list_playbooks(self.actor).order_by("-id")[:ITEMS])),
            "tick of the schedule": all_tenants_claim_due_playbooks,
        }


def _ms(work: Work) -> float:
    for _ in range(10):
        work()
    took = []
    for _ in range(TIMES):
        started = time.perf_counter()
        work()
        took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took)


def run() -> list[Row]:
    """Measure an empty system, fill it, and measure again."""
    answer = subprocess.run(
        [sys.executable, "-c", "import json; from benchmarks.scale import measure; print(json.dumps(measure()))"],
        stdout=subprocess.PIPE, text=True, check=True, timeout=_WITHIN_S,
    )  # fmt: skip
    found = json.loads(answer.stdout.splitlines()[-1])
    detail = (
        f"{EVENTS:,} events, {WORKSPACES:,} workspaces, {PLAYBOOKS:,} playbooks; middle of {TIMES}; goal 1.5×"
    )
    return [
        row(name, full, "ms", f"the same with {FEW:,} of each", found["empty"][name], detail)
        for name, full in found["full"].items()
    ]
