"""`manage.py seed`: the demo's organisations, people, agents and tokens. Prints one JSON object."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from django.core.management import BaseCommand
from django.db import transaction

from services.domain.actors import Actor
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.agents.models import Agent, Provider
from services.domain.agents.queries import list_agents
from services.domain.errors import TokenInvalid
from services.domain.identity.actions import LONGEST_TOKEN_LIFE, all_tenants_create_organisation, create_token
from services.domain.identity.models import Organisation, User
from services.domain.identity.queries import (
    all_tenants_actor_of,
    all_tenants_authenticate,
    all_tenants_organisations_of,
)
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.environment import environment

ACME, GLOBEX = "acme", "globex"
ALICE, MALLORY = "alice@acme.example", "mallory@globex.example"
AGENTS = (
    AgentFields(name="Shell", slug="shell", description="Runs the prompt's commands and shows their output."),
    AgentFields(
        name="Claude",
        slug="claude",
        provider=Provider.CLAUDE,
        description="A Claude agent with a shell, files and memory.",
    ),
    AgentFields(
        name="Codex",
        slug="codex",
        provider=Provider.CODEX,
        description="The Codex CLI with a shell, files and memory; needs a key of the OpenAI API.",
    ),
    AgentFields(
        name="opencode",
        slug="opencode",
        provider=Provider.OPENCODE,
        model="claude-sonnet-5",
        description="The opencode CLI with a shell, files and memory, here with a Claude model.",
    ),
)


class Command(BaseCommand):
    """Idempotent. What cannot be read back, a password and tokens, is kept in the data folder for the next run."""

    help = "Make the demo's data where it is missing and print how to sign in."

    def handle(self, *args: Any, **options: Any) -> None:
        """Make what is missing, keep the credentials, print them."""
        path = environment().data_dir / "seed.json"
        kept = _read_kept(path)
        alice, password = _keep_person(
            ALICE, "Alice", kept.get("password"), is_operator=_is_open_installation()
        )
        mallory, other_password = _keep_person(
            MALLORY, "Mallory", kept.get("other_password"), is_operator=False
        )
        owner = _keep_organisation(ACME, "Acme", alice)
        other_owner = _keep_organisation(GLOBEX, "Globex", mallory)
        agents = {fields.slug or "": _keep_agent(owner, fields) for fields in AGENTS}
        _keep_agent(other_owner, AGENTS[0])
        token = _keep_token(owner, kept.get("token"))
        other_token = _keep_token(other_owner, kept.get("other_token"))
        _write_kept(
            path,
            {
                "password": password,
                "other_password": other_password,
                "token": token,
                "other_token": other_token,
            },
        )
        seeded = {
            "org": ACME,
            "user": {"email": ALICE, "password": password},
            "token": token,
            "other_org": {"org": GLOBEX, "token": other_token},
            "agents": {slug: str(agent.id) for slug, agent in agents.items()},
        }
        self.stdout.write(json.dumps(seeded))


def _is_open_installation() -> bool:
    return environment().env != "production"


def _read_kept(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return kept


def _write_kept(path: Path, kept: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(
        os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        json.dump(kept, file)
    fresh.replace(path)


def _keep_person(email: str, name: str, password: str | None, *, is_operator: bool) -> tuple[User, str]:
    """Return the account and a password that opens it: the kept one, or else a new one."""
    password = password or secrets.token_urlsafe(12)
    with transaction.atomic():
        user = User.objects.filter(email=email).first()
        if user is None:
            user = User.objects.create_user(
                email, password, display_name=name, is_staff=is_operator, is_superuser=is_operator
            )
        elif not user.check_password(password):
            user.set_password(password)
            user.save()
    return user, password


def _keep_organisation(slug: str, name: str, owner: User) -> Actor:
    found: Organisation | None = next(
        (
            organisation
            for organisation, _ in all_tenants_organisations_of(owner)
            if organisation.slug == slug
        ),
        None,
    )
    if found is None:
        found = all_tenants_create_organisation(slug=slug, name=name, owner=owner)
    return all_tenants_actor_of(owner, found.id)


def _keep_agent(actor: Actor, fields: AgentFields) -> Agent:
    with tenant_transaction(actor.org_id):
        found = list_agents(actor).filter(slug=fields.slug).first()
    return found or create_agent(actor, fields)


def _keep_token(actor: Actor, text: str | None) -> str:
    """Return a token that works for this actor: the kept one, or else a new one."""
    if text is not None and _is_valid(actor, text):
        return text
    _, fresh = create_token(actor, name="demo", expires_at=now() + LONGEST_TOKEN_LIFE)
    return fresh


def _is_valid(actor: Actor, text: str) -> bool:
    try:
        known = all_tenants_authenticate(text)
    except TokenInvalid:
        return False
    return (known.org_id, known.user_id) == (actor.org_id, actor.user_id)
