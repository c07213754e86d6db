"""Whole ways through the running product between real mail servers, and in an encrypted room of a real homeserver."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.synapse import Synapse
from tests.peers.mail_system import MailSystem
from tests.peers.matrix_person import EncryptingPerson
from tests.stack.peers import Peers
from tests.stack.platforms import link
from tests.stack.running import RunningStack, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]

WITHIN_S = 90.0


@pytest.fixture
def stack(second_stack: RunningStack) -> RunningStack:
    """Give the stack that finds the peers."""
    return second_stack


@pytest.fixture
def mail(peers: Peers) -> Iterator[MailSystem]:
    """Run the mail servers of the agent and of a person."""
    with MailSystem(peers.authority) as system:
        yield system


def letter(mail: MailSystem, text: str, **headers: str) -> EmailMessage:
    """Write a mail of the person's to the agent. Without a subject, its text is all that the agent reads."""
    mime = EmailMessage()
    given = {"To": mail.agent.address, "Message-ID": make_msgid(domain=mail.person.domain)} | headers
    mime["From"] = f"Alice <{mail.person.address}>"
    mime["Date"] = formatdate()
    for name, value in given.items():
        mime[name] = value
    mime.set_content(text)
    return mime


def sender(stack: RunningStack, link_id: str, platform_id: str) -> dict[str, Any]:
    """Wait until somebody is known to a link as one who waits for a person's word."""

    def find() -> dict[str, Any] | None:
        found = stack.http.get(f"/v1/links/{link_id}/senders").json()["items"]
        return next((one for one in found if one["platform_user_id"] == platform_id), None)

    return dict(until(find, within_s=WITHIN_S, what=f"{platform_id} waits"))


def test_a_mail_is_answered_in_its_thread_and_a_forged_one_is_a_strangers(
    stack: RunningStack, mail: MailSystem
) -> None:
    config = {
        "address": mail.agent.address,
        "imap_host": "localhost",
        "imap_port": mail.imap_port,
        "smtp_host": "localhost",
        "smtp_port": mail.agent.smtp_port,
        "user": mail.agent.address,
        "password": mail.agent.password,
        "authserv_id": f"mx.{mail.agent.domain}",
    }
    made = link(stack, "email", config, unknown_senders="request_approval")
    until(lambda: is_heard(stack, made["id"]), within_s=WITHIN_S, what="the mailbox is listened to")

    first = letter(mail, "echo hello from $(id -u)")
    root = str(first["Message-ID"])
    mail.send(first)
    alice = sender(stack, made["id"], mail.person.address)
    stack.http.patch(f"/v1/links/{made['id']}/senders/{alice['id']}", json={"standing": "allowed"})
    answer = wait_for_text(mail, "hello from 10001")
    assert (answer["In-Reply-To"], str(answer["References"]).split()[0]) == (root, root)
    assert "dmarc=pass" in " ".join(answer.get_all("Authentication-Results", []))

    more = {"To": str(answer["Reply-To"]), "In-Reply-To": str(answer["Message-ID"])}
    mail.send(letter(mail, "echo and again", **more))
    again = wait_for_text(mail, "and again")
    assert str(again["References"]).split()[0] == root

    mail.send_as_stranger(letter(mail, "echo stolen"))
    forger = sender(stack, made["id"], f"unverified:{mail.person.address}")
    assert (forger["standing"], forger["waiting_messages"]) == ("unknown", 1)
    (decision,) = stack.http.get(f"/v1/chats/{forger['chat_id']}/decisions").json()["items"]
    assert "dmarc=fail" in decision["sender_name"]
    assert decision["writer"]["becomes"] == "held"
    assert not any("stolen" in text_of(one) for one in mail.mails(mail.person))


def test_an_encrypted_room_is_answered_encrypted_also_after_its_listener_was_killed(
    stack: RunningStack, peers: Peers, tmp_path: Path
) -> None:
    folder, keys = tmp_path / "synapse", tmp_path / "alice"
    folder.mkdir()
    with Synapse(folder, peers.ports["matrix"]) as synapse:
        bot, person = synapse.register("slipway"), synapse.register("alice")
        made = link(stack, "matrix", {"access_token": bot.token})
        until(lambda: is_heard(stack, made["id"]), within_s=WITHIN_S, what="the account is listened to")
        with EncryptingPerson(synapse.url, person.user_id, keys) as alice:
            room_id = alice.make_room(bot.user_id)
            alice.say(room_id, "echo hello from $(id -u)")
            alice.wait_for(lambda event: "hello from 10001" in event.source["content"]["body"])
            old = stack.kill("listen")
            alice.say(room_id, "echo and again")
            alice.wait_for(lambda event: "and again" in event.source["content"]["body"])
            stack.wait_restarted("listen", old)
        said = [event for event in bot.events(room_id) if event["sender"] == bot.user_id]
        assert {event["type"] for event in said} <= {"m.room.encrypted", "m.room.member", "m.reaction"}


def is_heard(stack: RunningStack, link_id: str) -> bool:
    """Say whether a process listens to a link."""
    found = stack.operate("SELECT status FROM link_listener WHERE link_id = %s", (link_id,))
    return [row["status"] for row in found] == ["listening"]


def wait_for_text(mail: MailSystem, text: str) -> EmailMessage:
    """Wait until the person has got a mail with this text, and return it."""

    def find() -> EmailMessage | None:
        return next((one for one in mail.mails(mail.person) if text in text_of(one)), None)

    found = until(find, within_s=WITHIN_S, what=f"a mail with {text!r}")
    assert isinstance(found, EmailMessage)
    return found


def text_of(mime: EmailMessage) -> str:
    """Return the plain text of a mail."""
    body = mime.get_body(("plain",))
    return str(body.get_content()) if body is not None else ""
