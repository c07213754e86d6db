"""Signing in and out, and the organisation that one acts in."""

from __future__ import annotations

import pytest
from django.test import Client

from conftest import PASSWORD
from services.api.dashboard.throttle import MAX_FAILURES
from services.domain.identity.actions import (
    all_tenants_create_organisation,
    all_tenants_set_active,
    all_tenants_suspend_organisation,
    remove_member,
)
from services.kit.redisbus import client as redis_client
from tests.dashboard.conftest import Person, assert_clean, sign_in


def post_sign_in(client: Client, email: str, password: str, **fields: str):
    client.get("/sign-in")
    token = client.cookies["slipway_csrf"].value
    return client.post(
        "/sign-in", {"email": email, "password": password, "csrfmiddlewaretoken": token, **fields}
    )


def test_the_right_password_opens_the_workspaces(acme):
    answer = post_sign_in(Client(enforce_csrf_checks=True), "Alice@Acme.example", PASSWORD)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")


def test_a_wrong_password_and_an_unknown_address_are_refused_alike(acme):
    wrong = post_sign_in(Client(), "alice@acme.example", "wrong").content.decode()
    unknown = post_sign_in(Client(), "nobody@acme.example", "wrong").content.decode()
    assert "The e-mail address or the password is wrong." in wrong
    assert "The e-mail address or the password is wrong." in unknown
    assert_clean(wrong)


def test_signing_in_without_the_forms_token_is_refused(acme):
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/sign-in", {"email": "alice@acme.example", "password": PASSWORD})
    assert answer.status_code == 403


def test_after_some_failures_even_the_right_password_has_to_wait(acme):
    client = Client()
    for _ in range(MAX_FAILURES):
        assert post_sign_in(client, "alice@acme.example", "wrong").status_code == 400
    answer = post_sign_in(client, "alice@acme.example", PASSWORD)
    assert answer.status_code == 400
    assert "Too many failed attempts for this address. Try again in 15 minutes." in answer.content.decode()


def test_failures_at_another_place_or_for_another_person_do_not_lock_one_out(acme):
    for _ in range(MAX_FAILURES + 1):
        post_sign_in(Client(REMOTE_ADDR="127.0.0.9"), "alice@acme.example", "wrong")
    assert post_sign_in(Client(), "alice@acme.example", PASSWORD).status_code == 302
    assert post_sign_in(Client(REMOTE_ADDR="127.0.0.9"), "bob@acme.example", PASSWORD).status_code == 302


def test_a_success_forgets_the_failures_before_it(acme):
    for _ in range(2):
        for _ in range(MAX_FAILURES - 1):
            post_sign_in(Client(), "alice@acme.example", "wrong")
        assert post_sign_in(Client(), "alice@acme.example", PASSWORD).status_code == 302


def test_the_wait_ends_by_itself(acme):
    post_sign_in(Client(), "alice@acme.example", "wrong")
    (key,) = redis_client().keys("slipway:signin:*")
    assert 0 < redis_client().ttl(key) <= 900


def test_one_comes_back_to_the_page_that_asked(acme):
    asked = Client().get("/agents?q=1")
    assert asked.headers["Location"] == "/sign-in?next=%2Fagents%3Fq%3D1"
    answer = post_sign_in(Client(), "alice@acme.example", PASSWORD, next="/agents?q=1")
    assert answer.headers["Location"] == "/agents?q=1"


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "\\\\evil.example"]
)
def test_one_is_never_sent_to_another_site(acme, target):
    answer = post_sign_in(Client(), "alice@acme.example", PASSWORD, next=target)
    assert answer.headers["Location"] == "/"


def test_signing_out_ends_the_session(alice):
    assert alice.post("/sign-out").status_code == 302
    assert alice.get("/").status_code == 302


def test_signing_out_needs_a_post(alice):
    assert alice.get("/sign-out").status_code == 405
    assert alice.get("/").status_code == 200


def test_a_signed_in_person_is_not_asked_again(alice):
    assert alice.get("/sign-in").headers["Location"] == "/"


def test_a_script_whose_session_has_ended_is_told_so(acme):
    answer = Client().post("/tickets", headers={"Accept": "application/json"})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthenticated"


def test_one_switches_between_ones_organisations(alice, acme):
    other = all_tenants_create_organisation(slug="initech", name="Initech", owner=acme.users["alice"])
    assert "Initech" in alice.get("/").content.decode()
    alice.post("/organisation", {"to": str(other.id)})
    page = alice.get("/").content.decode()
    assert '<span class="org-name">Initech</span>' in page
    assert "Start with an agent" in page


def test_one_cannot_switch_to_an_organisation_of_others(alice, globex):
    assert alice.post("/organisation", {"to": str(globex.organisation.id)}).status_code == 404
    assert '<span class="org-name">Acme</span>' in alice.get("/").content.decode()


def test_a_removed_member_sees_nothing_more(bob, acme):
    remove_member(acme.owner, acme.users["bob"].pk)
    answer = bob.get("/agents")
    assert answer.status_code == 403
    assert "not in an organisation" in answer.content.decode()
    assert_clean(answer.content.decode())


def test_a_suspended_organisation_is_closed_to_its_members(alice, acme):
    all_tenants_suspend_organisation(acme.organisation.id)
    assert alice.get("/").status_code == 403


def test_a_closed_account_is_signed_out(bob, acme):
    all_tenants_set_active(acme.users["bob"].pk, is_active=False)
    assert bob.get("/").status_code == 302
    assert post_sign_in(Client(), "bob@acme.example", PASSWORD).status_code == 400


def test_the_session_changes_its_key_when_one_signs_in(acme):
    client = Client()
    client.get("/sign-in")
    client.cookies["slipway_session"] = "fixed-by-somebody-else"
    post_sign_in(client, "alice@acme.example", PASSWORD)
    assert client.cookies["slipway_session"].value != "fixed-by-somebody-else"


def test_a_password_is_never_shown_again(acme):
    page = post_sign_in(Client(), "alice@acme.example", "a wrong secret").content.decode()
    assert "a wrong secret" not in page


def test_two_browsers_of_one_person_do_not_disturb_each_other(acme):
    one = Person(sign_in("alice@acme.example"), str(acme.organisation.id))
    two = Person(sign_in("alice@acme.example"), str(acme.organisation.id))
    one.get("/")
    one.post("/sign-out")
    assert two.get("/").status_code == 200
