"""The mail tools against a mailbox that speaks IMAP and SMTP over TLS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path

import pytest

from conftest import recorded
from services.adapters.mailbox.names import decode_folder, encode_folder, read_listed
from services.domain.integrations.models import Integration
from services.kit.environment import environment
from tests.fakes.mail_server import ADDRESS, MailServer
from tests.gateway.account_cast import (
    allow,
    calling,
    connect_mail,
    mail_server,
    make_impatient,
    stored,
)
from tests.gateway.serving import Caller


@pytest.fixture
def mailbox(monkeypatch, tmp_path: Path) -> Iterator[MailServer]:
    """Run a mailbox on loopback; its authority is one that this process trusts."""
    with mail_server(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture
def account(mailbox, acme) -> Integration:
    """Connect it as alice."""
    return connect_mail(acme, mailbox)


@pytest.fixture
def mail(gateway, acme, account, monkeypatch) -> Caller:
    """Call the mail tools for alice, who lets them send."""
    make_impatient(monkeypatch)
    allow(acme, "mail.mail_send")
    return calling(gateway, acme, "mail")


def test_connecting_signs_in_at_once(account):
    assert (account.status, stored(account).identity) == ("ok", ADDRESS)


def test_folders_are_listed_with_their_use(mail):
    assert mail("mail_list_folders")["folders"] == [
        {"name": "INBOX", "use": "inbox"},
        {"name": "Entwürfe", "use": "drafts"},
        {"name": "Sent", "use": "sent"},
    ]


def test_a_search_finds_the_newest_first_by_all_that_is_named(mail, mailbox):
    first = mailbox.receive_text("Ann <ann@example.com>", "Invoice one", "Please pay.")
    second = mailbox.receive_text("ann@example.com", "Invoice two", "Grüße aus Köln")
    mailbox.receive_text("bob@example.com", "Lunch", "At noon?")
    found = mail("mail_search", sender="ann", subject="invoice", unseen=True, since="2026-07-01")
    assert ([each["uid"] for each in found["mails"]], found["found"]) == ([second, first], 2)
    assert found["mails"][1]["sender"] == "Ann <ann@example.com>"
    assert found["mails"][0]["is_unread"] is True
    assert [each["uid"] for each in mail("mail_search", text="Köln")["mails"]] == [second]
    assert mail("mail_search", limit=1)["found"] == 3


def test_what_is_searched_for_ends_no_command(mail, mailbox):
    mailbox.receive_text("ann@example.com", 'A "quoted" \\ subject', "x")
    assert mail("mail_search", subject='"quoted" \\')["found"] == 1
    assert "must be one line" in mail.refused("mail_search", subject="x\r\nA1 LOGOUT")
    assert "must be one line" in mail.refused("mail_search", folder="INBOX\r\nA1 LOGOUT")
    assert all("LOGOUT" not in command for command in mailbox.commands if "SEARCH" in command)


def test_a_mail_is_read_as_text_and_stays_unread(mail, mailbox):
    mime = EmailMessage()
    mime["From"], mime["To"], mime["Subject"] = '"Shop" <shop@example.com>', ADDRESS, "Grüße"
    mime.set_content("<h1>Hello</h1><p>Your <b>order</b></p>", subtype="html")
    mime.add_attachment(b"x" * 1_000, maintype="application", subtype="pdf", filename="bill.pdf")
    uid = mailbox.receive(mime)
    read = mail("mail_read_message", uid=uid)
    assert (read["subject"], read["sender"]) == ("Grüße", '"Shop" <shop@example.com>')
    assert "Your order" in read["text"]
    assert "<b>" not in read["text"]
    assert read["attachments"] == [
        {"number": 1, "name": "bill.pdf", "mime_type": "application/pdf", "size_bytes": 1_000}
    ]
    assert mail("mail_search", unseen=True)["found"] == 1


def test_a_long_text_comes_in_parts(mail, mailbox):
    text = " ".join(f"word{number}" for number in range(6_000))
    uid = mailbox.receive_text("ann@example.com", "Long", text)
    first = mail("mail_read_message", uid=uid)
    assert len(first["text"]) == 20_000
    rest = mail("mail_read_message", uid=uid, start=first["next_start"])
    assert rest["text"].startswith(text[20_000:20_010])


def test_a_mail_is_marked_as_read_and_starred(mail, mailbox):
    uid = mailbox.receive_text("ann@example.com", "Hi", "x")
    assert mail("mail_mark", uid=uid, seen=True, flagged=True)["flags"] == ["\\Flagged", "\\Seen"]
    assert mail("mail_mark", uid=uid, seen=False)["flags"] == ["\\Flagged"]
    assert "give `seen` or `flagged`" in mail.refused("mail_mark", uid=uid)


def test_a_draft_lies_in_the_folder_for_drafts_and_nothing_is_sent(mail, mailbox):
    made = mail(
        "mail_create_draft", to=["ann@example.com"], bcc=["eve@example.com"], subject="Hi", body="Hello"
    )
    (draft,) = mailbox.folders["Entw&APw-rfe"][1]
    assert (made["folder"], made["uid"], draft.flags) == ("Entwürfe", draft.uid, {"\\Draft", "\\Seen"})
    assert message_from_bytes(draft.content)["Bcc"] == "eve@example.com"
    assert mailbox.sent == []


def test_a_mail_is_sent_once_with_hidden_copies_on_the_envelope_only(mail, mailbox):
    sent = mail(
        "mail_send",
        to=["Ann Lee <ann@example.com>"],
        cc=["bob@example.com"],
        bcc=["eve@example.com"],
        subject="Über uns",
        body=".dot\nsecond line",
    )
    assert sent["to"] == ["Ann Lee <ann@example.com>", "bob@example.com", "eve@example.com"]
    ((sender, recipients, content),) = mailbox.sent
    assert (sender, recipients) == (ADDRESS, ["ann@example.com", "bob@example.com", "eve@example.com"])
    assert b"eve@" not in content
    message = message_from_bytes(content)
    assert "alice@mail.example" in message["From"]
    assert message.get_payload(decode=True).decode().startswith(".dot")  # type: ignore[union-attr]
    assert [kept.flags for kept in mailbox.folders["Sent"][1]] == [{"\\Seen"}]


def test_a_reply_stays_in_its_thread(mail, mailbox):
    uid = mailbox.receive_text("Ann <ann@example.com>", "Lunch today", "At noon?")
    # Whoever allows the call must see whom it reaches.
    assert "name the recipients" in mail.refused("mail_send", reply_to_uid=uid, body="Yes.")
    mail("mail_send", to=["ann@example.com"], reply_to_uid=uid, body="Yes.")
    ((_, recipients, content),) = mailbox.sent
    message = message_from_bytes(content)
    assert recipients == ["ann@example.com"]
    assert (message["Subject"], message["In-Reply-To"]) == ("Re: Lunch today", "<11.Lunch@x>")


def test_the_draft_of_a_reply_goes_to_whoever_wrote(mail, mailbox):
    uid = mailbox.receive_text("Ann <ann@example.com>", "Lunch today", "At noon?")
    mail("mail_create_draft", reply_to_uid=uid, body="Yes.")
    (draft,) = mailbox.folders["Entw&APw-rfe"][1]
    message = message_from_bytes(draft.content)
    assert (message["To"], message["Subject"]) == ("ann@example.com", "Re: Lunch today")


def test_headers_cannot_be_added_through_a_subject_or_an_address(mail, mailbox):
    for given in (
        {"to": ["a@x.example"], "subject": "Hi\r\nBcc: eve@example.com"},
        {"to": ["a@x.example>\r\nRCPT TO:<eve@example.com"], "subject": "Hi"},
    ):
        assert mail.refused("mail_send", body="x", **given).startswith("invalid:")
    assert mailbox.sent == []


def test_sending_waits_for_a_person_where_no_rule_speaks(gateway, acme, mailbox, account, monkeypatch):
    make_impatient(monkeypatch)
    mail = calling(gateway, acme, "mail")
    words = str(mail.raw("mail_send", to=["ann@example.com"], subject="Hi", body="x"))
    assert "held" in words
    assert mailbox.sent == []


def test_an_account_that_may_not_send_drafts(gateway, acme, mailbox, monkeypatch):
    make_impatient(monkeypatch)
    allow(acme, "mail.*")
    connect_mail(acme, mailbox, "quiet", may_send=False)
    mail = calling(gateway, acme, "mail")
    words = mail.refused("mail_send", account="quiet", to=["a@x.example"], subject="Hi", body="x")
    assert words.startswith("account_denied:")
    assert "mail_create_draft" in words
    assert mailbox.sent == []


def test_a_copy_that_cannot_be_kept_does_not_make_a_sent_mail_a_failure(mail, mailbox):
    mailbox.answers["APPEND"] = "NO over quota"
    mail("mail_send", to=["ann@example.com"], subject="Hi", body="x")
    assert len(mailbox.sent) == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [("451 later", "account_throttled"), ("550 never", "account_refused")],
)
def test_a_server_that_does_not_take_the_mail_says_why(mail, mailbox, answer, code):
    mailbox.answers["DATA"] = answer
    words = mail.refused("mail_send", to=["ann@example.com"], subject="Hi", body="x")
    assert words.startswith(f"{code}:")
    assert mailbox.sent == []


def test_what_is_not_there_is_refused_with_where_to_look(mail):
    assert "mail_list_folders" in mail.refused("mail_search", folder="Nowhere")
    assert "mail_search" in mail.refused("mail_read_message", uid=999)


def test_a_wrong_password_closes_the_account_and_is_told_without_it(gateway, acme, mailbox):
    row = connect_mail(acme, mailbox, password="not the word")
    assert row.status == "unauthorised"
    asked = len(mailbox.commands)
    mail = calling(gateway, acme, "mail")
    with recorded() as seen:
        words = mail.refused("mail_search")
    assert words.startswith("account_unauthorised:")
    assert len(mailbox.commands) == asked
    text = json.dumps(
        [words, [event.data for event in (*seen.events, *seen.changes)], stored(row).settings, row.last_error]
    )
    assert "not the word" not in text


def test_a_server_whose_certificate_is_of_another_name_gets_no_password(acme, mailbox, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    row = connect_mail(acme, mailbox)
    assert row.status == "broken"
    assert not any("AUTHENTICATE" in command for command in mailbox.commands)


def test_a_server_inside_is_not_dialled_unless_the_operator_named_it(acme, mailbox, monkeypatch):
    monkeypatch.setattr(environment(), "upstream_internal_hosts", "")
    row = connect_mail(acme, mailbox)
    assert (row.status, "public internet" in row.last_error) == ("broken", True)
    assert mailbox.commands == []


def test_another_tenant_and_another_member_find_nothing(gateway, acme, globex, account):
    mallory = calling(gateway, globex, "mail")
    assert mallory.refused("mail_search").startswith("account_not_connected:")
    bob = calling(gateway, acme, "mail", who=acme.people["bob"])
    assert bob.refused("mail_read_message", uid=11).startswith("account_not_connected:")


@pytest.mark.parametrize("name", ["INBOX", "Entwürfe", "R&D", "日本語/台北", "~peter/mail/&"])
def test_a_folders_name_survives_its_coding(name):
    assert encode_folder(name).isascii()
    assert decode_folder(encode_folder(name)) == name


def test_a_folder_is_read_however_a_server_writes_it():
    assert read_listed(rb'(\HasNoChildren \Trash) "/" Trash').use == "trash"  # type: ignore[union-attr]
    assert read_listed(rb'(\Noselect) NIL "a \"b\""').name == 'a "b"'  # type: ignore[union-attr]
    assert read_listed(b"nonsense") is None
