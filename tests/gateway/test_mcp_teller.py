"""The Teller tools against banks that demand a client certificate and a token for each enrollment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Tenant, recorded
from services.domain.integrations.models import Integration
from tests.fakes.certificates import Authority
from tests.fakes.serving import Fault
from tests.fakes.teller_server import OTHER_TOKEN, TOKEN, TellerServer
from tests.gateway.account_cast import add, calling, point_at, stored
from tests.gateway.serving import Caller


@pytest.fixture
def banks(monkeypatch, tmp_path: Path) -> Iterator[TellerServer]:
    """Run the banks on loopback; their authority is one that this process trusts."""
    with TellerServer(tmp_path) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.authority.path))
        point_at(monkeypatch, teller_api_base=server.url)
        yield server


def connect(tenant: Tenant, banks: TellerServer, **fields: object) -> Integration:
    credentials = {
        "certificate": banks.client.certificate,
        "private_key": banks.client.private_key,
        "access_tokens": f"{TOKEN}\n{OTHER_TOKEN}",
        **fields.pop("credentials", {}),  # type: ignore[dict-item]
    }
    return add(tenant.owner, "teller", "banks", credentials=credentials, **fields)


@pytest.fixture
def account(banks, acme) -> Integration:
    """Connect both enrollments as alice."""
    return connect(acme, banks)


@pytest.fixture
def teller(gateway, acme, account) -> Caller:
    """Call the Teller tools for alice."""
    return calling(gateway, acme, "teller")


def test_connecting_asks_the_banks_at_once(account):
    assert (account.status, stored(account).identity) == ("ok", "Security Credit Union, Other Bank")


def test_enrollments_and_accounts_are_listed(teller):
    banks = teller("teller_list_enrollments")["enrollments"]
    assert [(bank["enrollment_id"], bank["institution"], bank["accounts"]) for bank in banks] == [
        ("enr_1", "Security Credit Union", 1),
        ("enr_2", "Other Bank", 1),
    ]
    accounts = teller("teller_list_accounts", enrollment_id="enr_2")["accounts"]
    assert [(each["id"], each["last_four"]) for each in accounts] == [("acc_2", "4455")]


def test_a_balance_is_asked_with_the_token_of_its_enrollment(teller):
    assert teller("teller_get_balance", account_id="acc_2")["available"] == "28500.00"


def test_transactions_come_in_pages(teller):
    first = teller("teller_list_transactions", account_id="acc_1", count=20)
    assert (first["transactions"][0]["id"], first["next_from_id"]) == ("txn_28", "txn_9")
    rest = teller("teller_list_transactions", account_id="acc_1", count=20, from_id="txn_9")
    assert [each["id"] for each in rest["transactions"]] == [f"txn_{number}" for number in range(8, 0, -1)]
    assert rest["next_from_id"] is None
    assert rest["transactions"][0]["counterparty"] == "Shop"


def test_numbers_are_masked_unless_the_person_shows_them(gateway, acme, banks, teller, account):
    masked = teller("teller_get_account_details", account_id="acc_1")
    assert (masked["account_number"], masked["routing_numbers"]) == ("••••••6655", {"ach": "864952590"})
    add(
        acme.owner,
        "teller",
        "shown",
        settings={"shows_numbers": True},
        credentials={
            "certificate": banks.client.certificate,
            "private_key": banks.client.private_key,
            "access_tokens": TOKEN,
        },
    )
    assert (
        teller("teller_get_account_details", account_id="acc_1", account="shown")["account_number"]
        == "9988776655"
    )


def test_what_is_not_there_is_refused_with_where_to_look(teller):
    assert teller.refused("teller_get_balance", account_id="acc_9").startswith("item_not_found:")
    assert "account_id" in teller.refused("teller_get_balance", account_id="../accounts")


@pytest.mark.parametrize(
    ("fault", "code"), [("throttle", "account_throttled"), ("error", "account_unreachable")]
)
def test_a_bank_that_cannot_answer_costs_the_call_only(teller, banks, account, fault, code):
    banks.faults.plan(Fault(fault, method="/accounts/acc_1/balances", retry_after_s=7))
    assert teller.refused("teller_get_balance", account_id="acc_1").startswith(f"{code}:")
    assert stored(account).status == "ok"
    assert teller("teller_get_balance", account_id="acc_1")["ledger"] == "28575.02"


def test_an_enrollment_that_the_bank_ended_says_what_the_person_must_do(teller, banks, account):
    banks.disconnected.add("enr_2")
    assert "must connect the bank again" in teller.refused("teller_list_accounts")
    assert stored(account).status == "ok"


def test_a_token_that_is_not_taken_closes_the_account_and_is_told(teller, banks, account):
    del banks.tokens[TOKEN]
    with recorded() as seen:
        words = teller.refused("teller_list_accounts")
    assert words.startswith("account_unauthorised:")
    assert seen.change_types == ["integration.changed"]
    assert seen.event_types == ["notification.created"]
    assert stored(account).status == "unauthorised"
    text = json.dumps(
        [words, [event.data for event in (*seen.events, *seen.changes)], stored(account).settings]
    )
    assert TOKEN not in text
    assert "PRIVATE KEY" not in text


@pytest.mark.parametrize("damage", ["none", "garbage", "another's key"])
def test_a_certificate_that_does_not_fit_is_said_when_it_is_given(acme, banks, tmp_path, damage):
    other = Authority(tmp_path, "other").sign("other")
    key = {"none": None, "garbage": "not a key", "another's key": other.private_key}[damage]
    row = connect(acme, banks, credentials={"private_key": key})
    assert (row.status, "certificate" in row.last_error) == ("unauthorised", True)
    assert not banks.calls.all()


def test_without_the_right_certificate_nothing_is_answered(acme, banks, tmp_path):
    stranger = Authority(tmp_path, "stranger").sign("stranger")
    given = {"certificate": stranger.certificate, "private_key": stranger.private_key}
    assert connect(acme, banks, credentials=given).status != "ok"
    assert not banks.calls.all()


def test_another_tenant_and_an_agent_without_a_grant_find_nothing(gateway, acme, globex, account):
    mallory = calling(gateway, globex, "teller")
    assert mallory.refused("teller_list_accounts").startswith("account_not_connected:")
    bob = calling(gateway, acme, "teller", who=acme.people["bob"])
    assert bob.refused("teller_get_balance", account_id="acc_1").startswith("account_not_connected:")
