"""A person's chats and quiet hours, and whom agents may send to."""

from __future__ import annotations

import re
import uuid
from datetime import time

import pytest

from conftest import Tenant
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.chat_commands.taking import take_command
from services.domain.chats.actions import create_link
from services.domain.chats.health import note_connected
from services.domain.chats.models import Chat, InboundMessage
from services.domain.contacts.destinations import DestinationFields, create_destination
from services.domain.contacts.models import Destination, PlatformAccount
from services.domain.contacts.quiet import QuietHours, get_quiet_hours, set_quiet_hours
from services.domain.identity.models import Membership
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from tests.dashboard.conftest import assert_clean

NOTIFICATIONS = "/settings/notifications"


@pytest.fixture
def chat(acme: Tenant) -> Chat:
    """Give acme a bot with a direct chat."""
    config = {"bot_token": "12345:sealed-value"}
    link = create_link(acme.owner, kind="telegram", name="Helpdesk", config=config)
    with tenant_transaction(acme.organisation.id):
        return Chat.objects.create(
            org_id=acme.organisation.id, link=link, platform_chat_id="7", kind="direct", title="Ally"
        )


def say(chat: Chat, text: str) -> str | None:
    """Let somebody write to the bot; returns what it answers to a code."""
    with tenant_transaction(chat.org_id):
        message = InboundMessage.objects.create(
            org_id=chat.org_id, link_id=chat.link_id, chat=chat, platform_message_id=str(uuid.uuid4()), text=text,
            sender_id="7", sender_name="Ally P",
            sent_at=now(),
        )  # fmt: skip
        taken = take_command(message)
        return taken.words if taken is not None else None


def accounts_of(tenant: Tenant, name: str) -> list[PlatformAccount]:
    with tenant_transaction(tenant.organisation.id):
        return list(PlatformAccount.objects.filter(user=tenant.users[name]))


def destinations_of(tenant: Tenant) -> list[Destination]:
    with tenant_transaction(tenant.organisation.id):
        return list(Destination.objects.order_by("name"))


def make_viewer(tenant: Tenant, name: str) -> None:
    with tenant_transaction(tenant.organisation.id):
        Membership.objects.filter(user=tenant.users[name]).update(role="viewer")


# --- chats and quiet hours ------------------------------------------------------------------------------


def test_a_chat_is_linked_by_a_code_listed_and_unlinked(alice, bob, acme, chat):
    assert "You have linked no chat yet" in alice.get(NOTIFICATIONS).content.decode()
    page = alice.post(f"{NOTIFICATIONS}/code").content.decode()
    assert_clean(page)
    assert "<b>Helpdesk</b>" in page
    code = re.search(r"data-made-code>(/link [A-Z0-9]{10})<", page)
    assert code is not None
    assert code[1] not in alice.get(NOTIFICATIONS).content.decode()
    assert (
        say(chat, code[1]) == "This account is linked to alice@acme.example. `/help` lists what I understand."
    )
    assert "Ally P" in alice.get(NOTIFICATIONS).content.decode()
    assert "Ally P" not in bob.get(NOTIFICATIONS).content.decode()
    (account,) = accounts_of(acme, "alice")
    assert bob.post(f"{NOTIFICATIONS}/accounts/{account.id}/unlink").status_code == 404
    assert len(accounts_of(acme, "alice")) == 1
    assert alice.post(f"{NOTIFICATIONS}/accounts/{account.id}/unlink").status_code == 302
    assert "The chat is unlinked." in alice.get(NOTIFICATIONS).content.decode()
    assert accounts_of(acme, "alice") == []


def test_more_codes_than_anybody_needs_are_refused_in_words(alice, chat):
    for _ in range(5):
        assert alice.post(f"{NOTIFICATIONS}/code").status_code == 200
    assert alice.post(f"{NOTIFICATIONS}/code").headers["Location"] == NOTIFICATIONS
    assert "There are enough codes open." in alice.get(NOTIFICATIONS).content.decode()


def test_without_a_bot_there_is_nothing_to_link(alice):
    page = alice.get(NOTIFICATIONS).content.decode()
    assert "There is no bot either" in page
    assert f"{NOTIFICATIONS}/code" not in page


def test_quiet_hours_are_set_shown_and_taken_back(alice, acme):
    assert "messages come at any time" in alice.get(NOTIFICATIONS).content.decode()
    hours = {"quiet_from": "22:00", "quiet_to": "07:30", "time_zone": "Europe/Berlin"}
    assert alice.post(NOTIFICATIONS, hours).status_code == 302
    with tenant_transaction(acme.organisation.id):
        assert get_quiet_hours(acme.owner) == QuietHours(
            time_zone="Europe/Berlin", quiet_from=time(22), quiet_to=time(7, 30)
        )
    page = alice.get(NOTIFICATIONS).content.decode()
    assert "From 22:00 to 07:30 (Europe/Berlin)" in page
    assert 'value="22:00"' in page
    alice.post(NOTIFICATIONS, {"quiet_from": "", "quiet_to": "", "time_zone": "Europe/Berlin"})
    assert "messages come at any time" in alice.get(NOTIFICATIONS).content.decode()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"quiet_to": ""}, "Give both times, or neither."),
        ({"quiet_from": ""}, "Give both times, or neither."),
        ({"quiet_to": "22:00"}, "Give another time than the first."),
        ({"quiet_to": "25:00"}, "Enter a valid time."),
        ({"time_zone": "Europe/Atlantis"}, "is no time zone of the tz database"),
        ({"time_zone": ""}, "This field is required."),
    ],
)
def test_wrong_quiet_hours_are_refused_beside_the_field(alice, acme, wrong, words):
    set_quiet_hours(acme.owner, QuietHours(quiet_from=time(1), quiet_to=time(2)))
    given = {"quiet_from": "22:00", "quiet_to": "07:00", "time_zone": "UTC", **wrong}
    answer = alice.post(NOTIFICATIONS, given)
    page = answer.content.decode()
    assert answer.status_code == 400
    assert_clean(page)
    assert f">{words}</p>" in page
    assert "From 01:00 to 02:00" in page


def test_quiet_hours_and_codes_are_each_persons_own(alice, bob, acme):
    alice.post(NOTIFICATIONS, {"quiet_from": "22:00", "quiet_to": "07:00", "time_zone": "UTC"})
    assert "messages come at any time" in bob.get(NOTIFICATIONS).content.decode()


def test_a_viewer_reads_and_changes_nothing(bob, acme, chat):
    make_viewer(acme, "bob")
    page = bob.get(NOTIFICATIONS).content.decode()
    assert "<form" not in page.partition("<main")[2]
    hours = {"quiet_from": "22:00", "quiet_to": "07:00", "time_zone": "UTC"}
    assert bob.post(NOTIFICATIONS, hours).status_code == 400
    assert "messages come at any time" in bob.get(NOTIFICATIONS).content.decode()
    bob.post(f"{NOTIFICATIONS}/code")
    assert "This needs the scope" in bob.get(NOTIFICATIONS).content.decode()


# --- destinations ---------------------------------------------------------------------------------------


def test_a_destination_is_added_listed_changed_and_removed(alice, acme, chat):
    helper = create_agent(acme.owner, AgentFields(name="Helper"))
    given = {
        "name": "ops", "place": f"chat:{chat.id}", "thread_id": "42", "description": "On <call>",
        "agent_ids": [str(helper.id)], "is_shared": "on",
    }  # fmt: skip
    assert alice.post("/destinations", given).headers["Location"] == "/destinations"
    (made,) = destinations_of(acme)
    assert (made.name, made.chat_id, made.person_id, made.thread_id, made.owner_id) == (
        "ops", chat.id, None, "42", None,
    )  # fmt: skip
    assert made.agent_ids == [helper.id]
    page = alice.get("/destinations").content.decode()
    assert_clean(page)
    assert "Ally (Helpdesk), thread 42 · On &lt;call&gt;" in page
    assert "Helper</span>" in page
    form = alice.get(f"/destinations/{made.id}").content.decode()
    assert f'<option value="chat:{chat.id}" selected>Ally (Helpdesk)</option>' in form
    assert "is_shared" not in form
    changed = {"name": "ops-2", "place": f"person:{acme.users['bob'].pk}"}
    assert alice.post(f"/destinations/{made.id}", changed).status_code == 302
    (row,) = destinations_of(acme)
    assert (row.id, row.name, row.chat_id, row.person_id, row.agent_ids, row.owner_id) == (
        made.id, "ops-2", None, acme.users["bob"].pk, [], None,
    )  # fmt: skip
    assert "bob, who has linked no chat yet" in alice.get("/destinations").content.decode()
    alice.post(f"/destinations/{made.id}/delete")
    assert destinations_of(acme) == []
    assert "There is no destination yet." in alice.get("/destinations").content.decode()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "Ops Team"}, "must be a-z, 0-9, dot, dash or underscore"),
        ({"name": "here"}, "must be a-z, 0-9, dot, dash or underscore"),
        ({"name": "taken"}, "There is a destination of this name."),
        ({"place": ""}, "This field is required."),
        ({"place": f"chat:{uuid.uuid4()}"}, "Select a valid choice."),
        ({"place": "chat:nonsense"}, "Select a valid choice."),
        ({"agent_ids": [str(uuid.uuid4())]}, "Select a valid choice."),
    ],
)
def test_a_wrong_destination_is_refused_in_words(alice, acme, chat, wrong, words):
    create_destination(acme.owner, DestinationFields(name="taken", chat_id=chat.id))
    answer = alice.post("/destinations", {"name": "ops", "place": f"chat:{chat.id}", **wrong})
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert_clean(answer.content.decode())
    assert len(destinations_of(acme)) == 1


def test_members_keep_their_own_and_see_shared_ones(alice, bob, acme, chat):
    shared = create_destination(acme.owner, DestinationFields(name="shared", chat_id=chat.id, is_shared=True))
    own = create_destination(acme.owner, DestinationFields(name="alices-own", chat_id=chat.id))
    page = bob.get("/destinations").content.decode()
    assert "shared" in page
    assert "alices-own" not in page
    assert "is_shared" not in page
    assert f"/destinations/{shared.id}/delete" not in page
    page = bob.get(f"/destinations/{shared.id}").content.decode()
    assert "changed by admins" in page
    assert re.search(r'<input[^>]*name="name"[^>]*value="shared"[^>]*disabled', page)
    assert bob.get(f"/destinations/{own.id}").status_code == 404
    place = f"chat:{chat.id}"
    refused = bob.post(f"/destinations/{shared.id}", {"name": "bobs", "place": place})
    assert "Shared destinations are changed by admins." in refused.content.decode()
    bob.post(f"/destinations/{shared.id}/delete")
    bob.post("/destinations", {"name": "bobs-own", "place": place, "is_shared": "on"})
    assert [(row.name, row.owner_id) for row in destinations_of(acme)] == [
        ("alices-own", acme.users["alice"].pk), ("bobs-own", acme.users["bob"].pk), ("shared", None),
    ]  # fmt: skip
    assert "bobs-own" not in alice.get("/destinations").content.decode()


def test_a_viewer_adds_no_destination(bob, acme, chat):
    make_viewer(acme, "bob")
    assert "<form" not in bob.get("/destinations").content.decode().partition("<main")[2]
    answer = bob.post("/destinations", {"name": "ops", "place": f"chat:{chat.id}"})
    assert answer.status_code == 400
    assert destinations_of(acme) == []


def test_another_tenants_chats_and_people_are_not_offered(mallory, acme, globex, chat):
    page = mallory.get("/destinations").content.decode()
    assert "Ally" not in page
    assert "alice" not in page
    answer = mallory.post("/destinations", {"name": "theirs", "place": f"chat:{chat.id}"})
    assert answer.status_code == 400
    assert destinations_of(globex) == []


def test_who_made_a_link_is_paired_with_its_bot_by_a_code_for_it_alone(alice, acme, chat):
    note_connected(acme.owner, chat.link_id, identity="helpdesk_bot")
    page = f"/links/{chat.link_id}"
    assert "Pair with me" in alice.get(page).content.decode()
    answer = alice.post(f"{page}/pair").content.decode()
    assert_clean(answer)
    code = re.search(r"data-made-code>(/link [A-Z0-9]{10})<", answer)
    assert code is not None
    assert code[1] not in alice.get(page).content.decode()
    say(chat, code[1])
    assert "Pair with me" not in alice.get(page).content.decode()
    assert [account.link_id for account in accounts_of(acme, "alice")] == [chat.link_id]


def test_a_name_and_a_language_are_kept_and_checked(alice, acme):
    person = f"{NOTIFICATIONS}/person"
    assert alice.post(person, {"display_name": "Alice A", "language": "pt-BR"}).status_code == 302
    page = alice.get(NOTIFICATIONS).content.decode()
    assert 'value="Alice A"' in page
    assert 'value="pt-BR"' in page
    wrong = alice.post(person, {"display_name": "Alice A", "language": "not a tag"})
    assert wrong.status_code == 400
    assert_clean(wrong.content.decode())


def test_an_agent_is_chosen_as_a_destination(alice, acme):
    given = {"name": "helper", "place": f"agent:{acme.agent.id}"}
    assert alice.post("/destinations", given).status_code == 302
    (row,) = destinations_of(acme)
    assert row.agent_id == acme.agent.id
    for page in ("/destinations", f"/destinations/{row.id}"):
        assert acme.agent.name in alice.get(page).content.decode()
