"""Second factors, recovery codes, sign-up, forgotten passwords, identity providers and sessions, at a browser."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.test import Client

from conftest import PASSWORD
from deploy.local.ports import pick_port
from services.domain.audit.models import AuditRecord
from services.domain.identity.invitations import invite
from services.domain.identity.models import Membership, User
from services.domain.letters.models import OutgoingLetter
from services.domain.letters.posting import all_tenants_find_letter
from services.kit.environment import environment
from tests.dashboard.conftest import Person, assert_clean, sign_in
from tests.stack.running import until

NEW_PASSWORD = "an entirely different phrase"


def csrf(client: Client) -> dict[str, str]:
    return {"csrfmiddlewaretoken": client.cookies["slipway_csrf"].value}


def attempt(email: str, password: str = PASSWORD) -> tuple[Client, str]:
    """Give the password; returns the browser and where it is sent."""
    client = Client(enforce_csrf_checks=True)
    client.get("/sign-in")
    answer = client.post("/sign-in", {"email": email, "password": password, **csrf(client)})
    return client, answer.headers.get("Location", "")


def code_for(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def records(action: str) -> list[AuditRecord]:
    return list(AuditRecord.objects.using("operator").filter(action=action).order_by("id"))


def turn_on_totp(person: Person) -> tuple[str, list[str]]:
    """Turn the authenticator app on; returns its secret and the recovery codes."""
    page = person.client.get("/auth/2fa/totp/activate/", follow=True)
    if b"Confirm Access" in page.content or "/reauthenticate" in page.request["PATH_INFO"]:
        person.client.post(
            "/auth/reauthenticate/?next=/auth/2fa/totp/activate/",
            {"password": PASSWORD, **csrf(person.client)},
        )
        page = person.client.get("/auth/2fa/totp/activate/")
    secret = page.context["form"].secret
    assert_clean(page.content.decode().replace("data:image", "/data:image"))
    done = person.client.post(
        "/auth/2fa/totp/activate/", {"code": code_for(secret), **csrf(person.client)}, follow=True
    )
    assert done.status_code == 200
    codes = person.client.get("/auth/2fa/recovery-codes/").context["unused_codes"]
    return secret, list(codes)


def test_with_an_authenticator_app_a_password_alone_opens_nothing(alice, acme):
    secret, codes = turn_on_totp(alice)
    assert records("factor.added")[0].details["factor"] == "totp"
    stored = alice.get("/settings/security").content.decode()
    assert "On: a code is asked for" in stored
    client, target = attempt("alice@acme.example")
    assert urlsplit(target).path == "/auth/2fa/authenticate/"
    assert client.get("/agents").status_code == 302
    assert_clean(client.get(target).content.decode().replace("<script", "<x"))
    wrong = client.post(target, {"code": "000000", **csrf(client)})
    assert wrong.status_code == 200
    assert client.get("/agents").status_code == 302
    let_in = client.post(target, {"code": codes[0], **csrf(client)})
    assert let_in.status_code == 302
    assert client.get("/agents").status_code == 200
    assert records("sign_in.succeeded")[-1].details == {"methods": ["password", "mfa"]}
    again, target = attempt("alice@acme.example")
    assert again.post(target, {"code": codes[0], **csrf(again)}).status_code == 200
    assert again.get("/agents").status_code == 302
    assert secret not in str(list(_authenticators()))


def _authenticators() -> Iterator[object]:
    from allauth.mfa.models import Authenticator

    return iter(Authenticator.objects.values_list("data", flat=True))


def test_a_failed_attempt_is_on_record_where_the_account_is_a_member(acme, globex):
    attempt("alice@acme.example", "wrong")
    attempt("nobody@acme.example", "wrong")
    (failed,) = records("sign_in.failed")
    assert (failed.org_id, failed.reason, failed.subject_name) == (
        acme.organisation.id, "password", "alice@acme.example",
    )  # fmt: skip


def sign_up(client: Client, email: str, path: str = "/auth/signup/"):
    page = client.get(path)
    assert page.status_code == 200
    return client.post(path, {"email": email, "password1": NEW_PASSWORD, **csrf(client)})


def letters() -> list[tuple[str, str, str]]:
    rows = OutgoingLetter.objects.using("operator").order_by("id").values_list("id", flat=True)
    found = [all_tenants_find_letter(row) for row in rows]
    return [each for each in found if each is not None]


@pytest.fixture
def mail(monkeypatch, settings) -> None:
    """Give the installation a mail server."""
    monkeypatch.setattr(environment(), "smtp_url", "smtp://mail.example")
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    settings.ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True


def test_one_signs_up_and_the_address_is_checked_by_a_code(acme, mail):
    client = Client(enforce_csrf_checks=True)
    assert sign_up(client, "Carol@Elsewhere.example").headers["Location"] == "/auth/confirm-email/"
    assert client.get("/agents").status_code == 302
    ((to, _, body),) = letters()
    assert to == "carol@elsewhere.example"
    code = re.search(r"^\s*([A-Za-z0-9]{3,4}-?[A-Za-z0-9]{3,4})\s*$", body, re.MULTILINE)[1]
    client.get("/auth/confirm-email/")
    client.post("/auth/confirm-email/", {"code": code, **csrf(client)})
    assert "Create an organisation" in client.get("/").content.decode()


def test_an_address_with_an_account_is_answered_as_one_without(acme, mail):
    new, known = Client(enforce_csrf_checks=True), Client(enforce_csrf_checks=True)
    answers = [sign_up(new, "carol@elsewhere.example"), sign_up(known, "alice@acme.example")]
    assert {(answer.status_code, answer.headers["Location"]) for answer in answers} == {
        (302, "/auth/confirm-email/")
    }
    assert new.get("/auth/confirm-email/").status_code == known.get("/auth/confirm-email/").status_code == 200
    assert User.objects.filter(email="alice@acme.example").get().check_password(PASSWORD)
    assert [to for to, _, _ in letters()] == ["carol@elsewhere.example", "alice@acme.example"]


def test_without_an_invitation_nobody_signs_up_where_it_takes_one(acme, monkeypatch):
    monkeypatch.setattr(environment(), "sign_up", "invitation")
    assert "Sign Up Closed" in Client().get("/auth/signup/").content.decode()
    _, text = invite(acme.owner, email="carol@elsewhere.example", role="member")
    client = Client(enforce_csrf_checks=True)
    path = f"/join/{text}"
    assert f"/auth/signup/?next={path}" in client.get(path).content.decode()
    other = sign_up(client, "dave@elsewhere.example", f"/auth/signup/?next={path}")
    assert "The invitation is for another address." in other.content.decode()
    made = sign_up(client, "carol@elsewhere.example", f"/auth/signup/?next={path}")
    assert made.headers["Location"] == path
    client.get(path)
    assert client.post(path, csrf(client)).headers["Location"] == "/"
    assert Membership.objects.using("operator").filter(user__email="carol@elsewhere.example").exists()


def test_a_short_password_is_refused(acme):
    client = Client(enforce_csrf_checks=True)
    client.get("/auth/signup/")
    answer = client.post(
        "/auth/signup/", {"email": "c@elsewhere.example", "password1": "short", **csrf(client)}
    )
    assert answer.status_code == 200
    assert "too short" in answer.content.decode()


def test_a_forgotten_password_is_reset_once_by_mail_and_nobody_learns_who_has_an_account(alice, acme, mail):
    answers = []
    for email in ("alice@acme.example", "nobody@elsewhere.example"):
        client = Client(enforce_csrf_checks=True)
        client.get("/auth/password/reset/")
        answer = client.post("/auth/password/reset/", {"email": email, **csrf(client)})
        answers.append((answer.status_code, answer.headers["Location"]))
    assert len(set(answers)) == 1
    ((to, _, body),) = letters()
    assert to == "alice@acme.example"
    link = urlsplit(re.search(r"http://\S+", body)[0]).path
    client = Client(enforce_csrf_checks=True)
    opened = client.get(link)
    form = opened.headers["Location"]
    client.get(form)
    changed = client.post(form, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, **csrf(client)})
    assert changed.status_code == 302
    assert attempt("alice@acme.example")[1] == ""
    assert attempt("alice@acme.example", NEW_PASSWORD)[1] == "/"
    assert alice.get("/agents").status_code == 302  # who was signed in before is not any more
    assert "Bad Token" in Client().get(link, follow=True).content.decode()
    assert records("password.changed")[0].subject_name == "alice@acme.example"


def test_the_desk_has_no_way_in_of_its_own(acme):
    assert Client().get("/admin/login/?next=/admin/").headers["Location"] == "/sign-in?next=/admin/"
    assert Client().get("/auth/login/").headers["Location"] == "/sign-in"
    assert Client().get("/auth/email/").status_code == 404


def test_sessions_are_listed_and_ended(alice, acme):
    other = Person(sign_in("alice@acme.example", headers={"User-Agent": "An old laptop"}), alice.org_id)
    page = alice.get("/settings/security").content.decode()
    assert "An old laptop" in page
    assert_clean(page)
    path = re.search(r'action="(/settings/security/sessions/[0-9a-f-]{36}/end)"', page)[1]
    alice.post(path)
    assert other.get("/agents").status_code == 302
    assert alice.get("/agents").status_code == 200
    assert alice.post(path).status_code == 404
    assert records("session.revoked")[0].details["session_device"] == "An old laptop"


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """Run an identity provider that others keep, `oidc-provider-mock`, in a process of its own."""
    port = pick_port(set())
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        until(lambda: _answers(url), within_s=60, what="the provider answers")
        yield url
        process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/.well-known/openid-configuration").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def with_provider(provider, settings) -> str:
    """Have the installation know the provider."""
    app = {
        "provider_id": "idp",
        "name": "Dev",
        "client_id": "slipway",
        "secret": "hush",
        "settings": {
            "server_url": provider,
            "oauth_pkce_enabled": True,
            "email_authentication": True,
            "organisation": "acme",
            "role": "viewer",
        },
    }
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app]}}
    return provider


def come_by_provider(provider: str, claims: dict[str, object]) -> tuple[Client, object]:
    """Go to the provider, sign in there, and come back."""
    sub = str(claims["sub"])
    httpx.put(f"{provider}/users/{sub}", json=claims).raise_for_status()
    client = Client(enforce_csrf_checks=True)
    client.get("/sign-in")
    sent = client.post("/auth/oidc/idp/login/?process=login", csrf(client))
    target = sent.headers["Location"]
    asked = parse_qs(urlsplit(target).query)
    assert (asked["code_challenge_method"], len(asked["state"])) == (["S256"], 1)
    back = httpx.post(target, data={"sub": sub}).headers["Location"]
    return client, client.get(back.removeprefix("http://testserver"))


def test_an_identity_provider_opens_an_account_that_has_the_checked_address(acme, with_provider):
    claims = {"sub": "a1", "email": "alice@acme.example", "email_verified": True, "name": "Alice"}
    client, answer = come_by_provider(with_provider, claims)
    assert answer.status_code == 302
    assert client.get("/agents").status_code == 200
    assert records("sign_in.succeeded")[-1].details["methods"] == ["socialaccount"]


def test_an_address_that_the_provider_has_not_checked_opens_nothing(acme, with_provider):
    claims = {"sub": "x1", "email": "alice@acme.example", "email_verified": False}
    client, _ = come_by_provider(with_provider, claims)
    assert client.get("/agents").status_code == 302


def test_a_new_person_of_an_organisations_provider_becomes_its_member(acme, with_provider):
    claims = {"sub": "n1", "email": "nina@acme.example", "email_verified": True, "name": "Nina"}
    client, _ = come_by_provider(with_provider, claims)
    assert client.get("/agents").status_code == 200
    nina = User.objects.get(email="nina@acme.example")
    assert (nina.display_name, nina.has_usable_password()) == ("Nina", False)
    assert Membership.objects.using("operator").get(user=nina).role == "viewer"


def test_a_state_that_was_not_begun_here_is_refused(acme, with_provider):
    client = Client()
    assert client.get("/auth/oidc/idp/login/callback/?code=x&state=forged").status_code < 500
    assert client.get("/agents").status_code == 302
