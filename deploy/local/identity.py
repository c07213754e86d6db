"""A local identity provider, for development: signing in by OpenID Connect without an account anywhere.

It is `oidc-provider-mock`, which lets anybody in as anybody: it listens on loopback, and only where
`SLIPWAY_ENV` is `development`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.program import Program

NAME = "identity"
PORT = "LOCAL_IDENTITY_PORT"
PROVIDERS = "SLIPWAY_OIDC_PROVIDERS"
PEOPLE = (
    {"sub": "alice", "email": "alice@acme.example", "email_verified": True, "name": "Alice"},
    {"sub": "nina", "email": "nina@acme.example", "email_verified": True, "name": "Nina"},
)
"""Who stands in the provider from the start: alice has an account, nina becomes a member of acme."""


def url(kept: Mapping[str, str]) -> str:
    """Return the provider's address, which is its issuer too."""
    return f"http://127.0.0.1:{kept[PORT]}"


def settings(kept: Mapping[str, str]) -> dict[str, str]:
    """Return what makes the services know the provider."""
    provider = {
        "id": "local",
        "name": "the local provider",
        "issuer": url(kept),
        "client_id": "slipway",
        "client_secret": "for-development-only",
        "trusts_email": True,
        "organisation": "acme",
    }
    return {PROVIDERS: json.dumps([provider], separators=(",", ":"))}


def programs(kept: Mapping[str, str], given: Mapping[str, str]) -> list[Program]:
    """Return the provider's program, unless this is no development or the person named providers of their own."""
    if given["SLIPWAY_ENV"] != "development" or url(kept) not in given.get(PROVIDERS, ""):
        return []
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", kept[PORT]]
    for person in PEOPLE:
        command += ["--user-claims", json.dumps(person)]
    return [
        Program(
            name=NAME,
            command=tuple(command),
            environment={"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"},
            folder=Path("/"),
            priority=150,
        )
    ]
