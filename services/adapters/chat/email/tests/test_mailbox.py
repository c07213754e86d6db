"""A mailbox on a local server: threads, copies, files, and how listening resumes."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from typing import Any

import pytest
from pydantic import SecretStr

from services.adapters.chat.email.adapter import EmailAdapter
from services.adapters.chat.email.config import EmailConfig
from services.adapters.chat.email.inbound import read_letter
from services.adapters.chat.email.tests.conformance import (
    ADDRESS,
    CONFIG,
    PERSON,
    letter,
    sent_mails,
    serving,
)
from services.adapters.chat.tests.memory_inbox import MemoryInbox, listened, listening
from services.domain.errors import FileTooLarge, PlatformRefused
from services.domain.ports.chat import Parsed, Place
from services.domain.ports.chat_abilities import OutgoingFile
from tests.fakes.mail_server import MailServer


@pytest.fixture
def server() -> Iterator[MailServer]:
    with serving() as running:
        yield running


@pytest.fixture
def adapter(server: MailServer) -> EmailAdapter:
    return EmailAdapter("localhost")


@pytest.fixture
def inbox(adapter: EmailAdapter) -> MemoryInbox:
    first = MemoryInbox()
    listened(adapter, CONFIG, first, lambda: bool(first.state))
    return MemoryInbox(first.state)


def sent(server: MailServer) -> EmailMessage:
    return sent_mails(server)[-1]


def test_an_answer_goes_into_its_thread_with_its_subject(server: MailServer, adapter: EmailAdapter) -> None:
    server.receive(letter("one", subject="The matter", Message_ID="<first@x>"))
    server.receive(letter("two", subject="Re: The matter", Message_ID="<second@x>", References="<first@x>"))
    server.receive(letter("other", subject="Else", Message_ID="<other@x>"))
    adapter.send(CONFIG, Place(PERSON, "first@x"), "the <strong>answer</strong>")
    mail = sent(server)
    assert mail["Subject"] == "Re: The matter"
    assert (mail["In-Reply-To"], mail["References"]) == ("<second@x>", "<first@x> <second@x>")
    assert mail["To"] == PERSON
    assert mail["From"] == "Agent Ä <agent@mail.example>"
    assert mail["Auto-Submitted"] == "auto-replied"
    html = mail.get_body(("html",))
    assert html is not None
    assert "<strong>answer</strong>" in html.get_content()


def test_a_mail_that_begins_a_thread_has_its_first_words_as_subject(
    server: MailServer, adapter: EmailAdapter
) -> None:
    adapter.send(CONFIG, Place(PERSON), "The report is ready.<br/>" + "It is long. " * 20)
    mail = sent(server)
    assert str(mail["Subject"]).startswith("The report is ready. It is long.")
    assert len(str(mail["Subject"])) <= 70
    assert mail["In-Reply-To"] is None


def test_what_the_agent_began_goes_on_in_one_thread(
    server: MailServer, adapter: EmailAdapter, inbox: MemoryInbox
) -> None:
    adapter.send(CONFIG, Place(PERSON), "How are things?")
    first = sent(server)
    server.receive(
        letter(
            "Fine.\n\n> How are things?",
            subject=f"Re: {first['Subject']}",
            In_Reply_To=str(first["Message-ID"]),
            References=str(first["Message-ID"]),
            To=str(first["Reply-To"]),
        )
    )
    listened(adapter, CONFIG, inbox, lambda: len(inbox.messages()) == 1)
    (answer,) = inbox.messages()
    assert answer.text == "Fine."
    assert f"<{answer.place.thread_id}>" == first["Message-ID"]
    adapter.send(CONFIG, answer.place, "Good.")
    assert sent(server)["References"] == f"{first['Message-ID']} <{answer.message_id}>"


def test_a_client_without_references_is_put_into_its_thread_by_the_reply_address(
    server: MailServer, adapter: EmailAdapter, inbox: MemoryInbox
) -> None:
    server.receive(letter("one", subject="The matter", Message_ID="<first@x>"))
    adapter.send(CONFIG, Place(PERSON, "first@x"), "answer")
    server.receive(letter("two", To=str(sent(server)["Reply-To"])))
    server.receive(letter("three"))
    listened(adapter, CONFIG, inbox, lambda: len(inbox.messages()) == 3)
    threads = [message.place.thread_id for message in inbox.messages()]
    assert threads[:2] == ["first@x", "first@x"]
    assert threads[2] != "first@x"


def test_a_repeat_after_a_crash_is_found_or_has_the_same_id(
    server: MailServer, adapter: EmailAdapter
) -> None:
    place = Place(PERSON)
    first = adapter.send_with_key(CONFIG, place, "hello", "key-1")
    assert adapter.find_sent(CONFIG, place, "key-1") == first
    assert adapter.find_sent(CONFIG, Place("bob@example.org"), "key-1") is None
    server.folders.pop("Sent")
    assert adapter.find_sent(CONFIG, place, "key-1") is None
    assert adapter.send_with_key(CONFIG, place, "hello", "key-1") == first
    assert len({mail["Message-ID"] for mail in sent_mails(server)}) == 1


def test_a_mail_that_went_out_is_sent_though_no_copy_can_be_kept(
    server: MailServer, adapter: EmailAdapter
) -> None:
    server.answers["APPEND"] = "NO over quota"
    assert adapter.send(CONFIG, Place(PERSON), "hello").message_id
    assert len(server.sent) == 1


def test_an_unverified_sender_is_answered_at_the_address_that_was_written(
    server: MailServer, adapter: EmailAdapter
) -> None:
    adapter.send(CONFIG, Place(f"unverified:{PERSON}"), "who are you?")
    assert server.sent[-1][1] == [PERSON]
    for wrong in ("", "x", "a@b\r\nBcc: c@d", "unverified:", "a b@c.d"):
        with pytest.raises(PlatformRefused):
            adapter.send(CONFIG, Place(wrong), "x")


def test_two_agents_do_not_answer_each_other(
    server: MailServer, adapter: EmailAdapter, inbox: MemoryInbox
) -> None:
    """What one mailbox of ours sends is not answered by another one."""
    adapter.send(CONFIG, Place("other@mail.example"), "hello, other")
    other = CONFIG.model_copy(update={"address": "other@mail.example", "bot_id": "other@mail.example"})
    server.receive_bytes(server.sent[-1][2])
    listened(adapter, other, inbox, lambda: bool(inbox.ignored()))
    assert inbox.ignored() == ["automatic_mail"]


def test_a_file_of_a_mail_is_fetched_by_its_reference(
    server: MailServer, adapter: EmailAdapter, inbox: MemoryInbox
) -> None:
    mime = letter("look")
    data = bytes(range(256)) * 1_000
    mime.add_attachment(data, maintype="application", subtype="octet-stream", filename="a.bin")
    server.receive(mime)
    listened(adapter, CONFIG, inbox, lambda: len(inbox.messages()) == 1)
    (file,) = inbox.messages()[0].files
    assert file.size == len(data)
    assert adapter.fetch_file(CONFIG, file.ref, len(data)) == data
    with pytest.raises(FileTooLarge):
        adapter.fetch_file(CONFIG, file.ref, len(data) - 1)
    for wrong in ("", "1.2", "7.99.1", "8.11.1", "7.11.9", "7.x.1"):
        with pytest.raises(PlatformRefused):
            adapter.fetch_file(CONFIG, wrong, 1_000)


def test_a_file_is_sent_with_its_words(server: MailServer, adapter: EmailAdapter) -> None:
    inner = OutgoingFile("note.eml", "message/rfc822", b"From: a@b\r\n\r\nhi")
    adapter.send_file(CONFIG, Place(PERSON), inner, "")
    (part,) = sent(server).iter_attachments()
    assert (part.get_filename(), part.get_content_type()) == ("note.eml", "application/octet-stream")
    assert part.get_payload(decode=True) == inner.data
    assert sent(server)["Subject"] == "note.eml"


def test_what_lay_there_before_is_not_answered_and_stays_unread(
    server: MailServer, adapter: EmailAdapter
) -> None:
    server.receive(letter("long ago"))
    first = MemoryInbox()
    listened(adapter, CONFIG, first, lambda: bool(first.state))
    server.receive(letter("now"))
    listened(adapter, CONFIG, first := MemoryInbox(first.state), lambda: len(first.messages()) == 1)
    assert first.messages()[0].text == "now"
    assert [mail.flags for mail in server.folders["INBOX"][1]] == [set(), set()]


def test_a_mailbox_that_was_made_anew_is_read_again_with_the_same_keys(
    server: MailServer, adapter: EmailAdapter, inbox: MemoryInbox
) -> None:
    server.receive(letter("one"))
    listened(adapter, CONFIG, inbox, lambda: len(inbox.messages()) == 1)
    server.receive(letter("two"))
    server.make_anew()
    again = MemoryInbox(inbox.state)
    listened(adapter, CONFIG, again, lambda: len(again.messages()) == 2)
    assert again.messages()[0].dedupe_key == inbox.messages()[0].dedupe_key
    assert again.state["validity"] == server.validity
    server.receive(letter("three"))
    last = MemoryInbox(again.state)
    listened(adapter, CONFIG, last, lambda: len(last.messages()) == 1)
    assert last.messages()[0].text == "three"


def test_a_server_without_idle_is_asked_now_and_then(
    server: MailServer, adapter: EmailAdapter, inbox: MemoryInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.adapters.chat.email.listening._POLL_S", 0.05)
    server.has_idle = False
    with listening(adapter, CONFIG, inbox):
        for count in (1, 2):
            server.receive(letter("hello"))
            inbox.wait_for_messages(count)
    assert "IDLE" not in server.commands


def test_a_parser_that_stumbles_over_a_mail_does_not_end_the_listening(
    server: MailServer, adapter: EmailAdapter, inbox: MemoryInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbling(config: EmailConfig, raw: bytes, *rest: Any, **named: Any) -> Parsed:
        if b"poison" in raw:
            raise IndexError("a defect of a parser")
        return read_letter(config, raw, *rest, **named)

    monkeypatch.setattr("services.adapters.chat.email.listening.read_letter", stumbling)
    server.receive(letter("poison"))
    server.receive(letter("fine"))
    listened(adapter, CONFIG, inbox, lambda: len(inbox.messages()) == 1)
    assert inbox.ignored() == ["unreadable"]


def test_health_says_what_to_mend(adapter: EmailAdapter) -> None:
    assert adapter.check_health(CONFIG, "") is None
    wrong = CONFIG.model_copy(update={"password": SecretStr("wrong")})
    assert "password" in str(adapter.check_health(wrong, ""))


def test_a_server_on_the_inner_network_is_not_spoken_to(server: MailServer) -> None:
    """A tenant names the servers; only the operator may name one that is not public."""
    with pytest.raises(PlatformRefused):
        EmailAdapter("").connect(CONFIG, "")
    assert server.commands == []


def test_the_address_of_the_mailbox_is_who_the_bot_is(adapter: EmailAdapter) -> None:
    identity = adapter.connect(CONFIG, "")
    assert (identity.platform_id, identity.display_name) == (ADDRESS, "Agent Ä")


def test_what_is_sent_can_be_read_by_any_mail_program(server: MailServer, adapter: EmailAdapter) -> None:
    long_line = "wörter " * 400
    adapter.send(CONFIG, Place(PERSON), f"{long_line}<br/>.<br/>.. dots")
    raw = server.sent[-1][2]
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    assert b"\n" not in raw.replace(b"\r\n", b"")
    body = message_from_bytes(raw)
    assert body.get_content_type() == "multipart/alternative"
