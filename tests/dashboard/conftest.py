"""A browser without scripts: Django's test client, which checks CSRF as a real one is checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from conftest import PASSWORD, Tenant


@dataclass
class Person:
    """Somebody at a browser, acting in an organisation."""

    client: Client
    org_id: str

    def get(self, path: str, **kwargs: Any) -> Any:
        return self.client.get(path, **kwargs)

    def post(self, path: str, fields: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """Send a form as a page would: with its CSRF token and the organisation that it was made for."""
        token = self.client.cookies["slipway_csrf"].value
        given = {"csrfmiddlewaretoken": token, "org": self.org_id, **(fields or {})}
        return self.client.post(
            path, {name: value for name, value in given.items() if value is not None}, **kwargs
        )


def sign_in(email: str, password: str = PASSWORD, **extra: Any) -> Client:
    """Sign in through the form and return the browser."""
    client = Client(enforce_csrf_checks=True, **extra)
    client.get("/sign-in")
    answer = client.post(
        "/sign-in",
        {"email": email, "password": password, "csrfmiddlewaretoken": client.cookies["slipway_csrf"].value},
    )
    assert answer.status_code == 302, answer.content.decode()
    return client


def at_browser(tenant: Tenant, name: str) -> Person:
    """Return a signed-in person of a tenant."""
    client = sign_in(tenant.users[name].email)
    client.get("/")
    return Person(client, str(tenant.organisation.id))


@pytest.fixture
def alice(acme: Tenant) -> Person:
    """Give alice, the owner of acme."""
    return at_browser(acme, "alice")


@pytest.fixture
def bob(acme: Tenant) -> Person:
    """Give bob, a member of acme."""
    return at_browser(acme, "bob")


@pytest.fixture
def mallory(globex: Tenant) -> Person:
    """Give mallory of globex."""
    return at_browser(globex, "mallory")


_TAG = re.compile(r"<[a-zA-Z][^>]*>")


def assert_clean(html: str) -> None:
    """Say that a page has no inline script or style and names no other origin."""
    assert "<style" not in html
    for tag in _TAG.findall(html):
        assert not re.search(r"\s(style|on[a-z]+)\s*=", tag), tag
        assert not tag.startswith("<script") or " src=" in tag, tag
        for address in re.findall(r"""(?:src|href|action)=["']([^"']*)""", tag):
            assert address.startswith(("/", "?", "#")) or address == "", tag
