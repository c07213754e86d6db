"""What every test can use: the databases, the standing cast, and what a block of code recorded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from services.domain.actors import Actor
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.agents.models import Agent
from services.domain.events.listed import Listed
from services.domain.events.models import Event
from services.domain.events.registry import KINDS
from services.domain.identity.actions import add_member, all_tenants_create_organisation, create_token
from services.domain.identity.models import Organisation, User
from services.domain.identity.queries import all_tenants_actor_of
from services.domain.outbox.models import OutboxJob
from services.kit.redisbus import client as redis_client
from tests.databases import Emptier, drop, is_of_version, mark, schema_version


def _database_of(url: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the running product last: what is quick to fail comes first."""
    items.sort(
        key=lambda item: item.get_closest_marker("stack") is not None or "tests/browser" in item.nodeid
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how a test failed that ran once more, whatever came of it then (docs/adr/0016)."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"RERUN {report.nodeid}", "_")
        terminalreporter.line(report.longreprtext)


@pytest.fixture(scope="session")
def provisioned(servers, django_db_blocker) -> Iterator[list[Emptier]]:
    """Make the suite's roles, databases and tables from nothing, unless an earlier session left just these."""
    admin = os.environ["SLIPWAY_ADMIN_DATABASE_URL"]
    names = [_database_of(os.environ[f"SLIPWAY_{owner}_DATABASE_URL"]) for owner in ("OWNER", "PLANE_OWNER")]
    version = schema_version()
    with django_db_blocker.unblock():
        if not all(is_of_version(admin, name, version) for name in names):
            for name in names:
                drop(admin, name)
            call_command("provision", verbosity=0)
            for name in names:
                mark(admin, name, version)
    emptiers = [Emptier(admin, name) for name in names]
    for emptier in emptiers:
        emptier.empty()
    yield emptiers
    for emptier in emptiers:
        emptier.close()
    with django_db_blocker.unblock():
        for connection in connections.all():
            connection.close()
            connection.close_pool()


@pytest.fixture
def database(provisioned, django_db_blocker) -> Iterator[None]:
    """Let a test use the databases with real commits; afterwards every table and Redis are empty again."""
    with django_db_blocker.unblock():
        yield
        for connection in connections.all(initialized_only=True):
            connection.close()
        for emptier in provisioned:
            emptier.empty()
        redis_client().flushdb()


@dataclass
class Tenant:
    """One organisation of the standing cast: its people as actors, their tokens' texts, its shell agent."""

    organisation: Organisation
    people: dict[str, Actor]
    tokens: dict[str, str]
    agent: Agent
    users: dict[str, User] = field(default_factory=dict)

    @property
    def owner(self) -> Actor:
        """Return the first person's actor."""
        return next(iter(self.people.values()))

    @property
    def token(self) -> str:
        """Return the owner's API token."""
        return next(iter(self.tokens.values()))


# Scrypt is slow on purpose; a test that makes people does not test that.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
PASSWORD = "correct horse battery staple"


def make_tenant(slug: str, names: list[str]) -> Tenant:
    """Create an organisation whose first person is the owner and the others members, and a shell agent."""
    users = {
        name: User.objects.create_user(f"{name}@{slug}.example", PASSWORD, display_name=name)
        for name in names
    }
    owner = users[names[0]]
    organisation = all_tenants_create_organisation(slug=slug, name=slug.title(), owner=owner)
    owner_actor = all_tenants_actor_of(owner, organisation.id)
    for name in names[1:]:
        add_member(owner_actor, users[name], "member")
    people = {name: all_tenants_actor_of(user, organisation.id) for name, user in users.items()}
    tokens = {name: create_token(actor, name="test")[1] for name, actor in people.items()}
    agent = create_agent(owner_actor, AgentFields(name="Shell"))
    return Tenant(organisation, people, tokens, agent, users)


@pytest.fixture
def acme(database) -> Tenant:
    """Give acme: alice the owner, bob a member, and a shell agent."""
    return make_tenant("acme", ["alice", "bob"])


@pytest.fixture
def globex(database) -> Tenant:
    """Give globex: mallory, who must never see anything of acme's."""
    return make_tenant("globex", ["mallory"])


@dataclass
class Recorded:
    """The events and jobs that a block committed, in order. What is told for lists is apart, in `changes`."""

    events: list[Event] = field(default_factory=list)
    changes: list[Event] = field(default_factory=list)
    jobs: list[OutboxJob] = field(default_factory=list)

    @property
    def event_types(self) -> list[str]:
        return [event.type for event in self.events]

    @property
    def change_types(self) -> list[str]:
        return [event.type for event in self.changes]

    @property
    def job_types(self) -> list[str]:
        return [job.type for job in self.jobs]


@contextlib.contextmanager
def recorded() -> Iterator[Recorded]:
    """Collect what the block records: `with recorded() as seen: …; assert seen.event_types == [...]`."""
    seen = Recorded()
    last_event = Event.objects.using("operator").order_by("-id").values_list("id", flat=True).first() or 0
    last_job = OutboxJob.objects.using("operator").order_by("-id").values_list("id", flat=True).first() or 0
    yield seen
    for event in Event.objects.using("operator").filter(id__gt=last_event).order_by("id"):
        is_listed = event.stream.startswith("org:") and issubclass(KINDS[event.type].data, Listed)
        (seen.changes if is_listed else seen.events).append(event)
    seen.jobs.extend(OutboxJob.objects.using("operator").filter(id__gt=last_job).order_by("id"))
