"""The Gmail tools against a mailbox that speaks Gmail's API: what is found, read, labelled, drafted and sent."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage

import pytest

from services.domain.approvals.actions import decide_approval
from services.domain.approvals.models import Approval
from services.domain.tenancy.transaction import tenant_transaction
from tests.fakes.gmail_server import ADDRESS, GmailServer
from tests.fakes.serving import Fault
from tests.gateway.account_cast import allow, calling, connect_gmail, make_impatient, stored, use_google
from tests.gateway.serving import Caller, eventually


@pytest.fixture
def mailbox(monkeypatch) -> Iterator[GmailServer]:
    """Run a mailbox on loopback."""
    make_impatient(monkeypatch)
    with GmailServer() as server:
        use_google(monkeypatch, server)
        yield server


@pytest.fixture
def account(mailbox, acme):
    """Connect it as alice."""
    return connect_gmail(acme)


@pytest.fixture
def gmail(gateway, acme, account) -> Caller:
    """Call the Gmail tools for alice, whose organisation lets agents send."""
    allow(acme, "gmail.gmail_send")
    return calling(gateway, acme, "gmail")


def sent(mailbox: GmailServer, message_id: str) -> EmailMessage:
    return mailbox.mails[message_id].mime


def test_a_search_gives_heads_newest_first_and_the_next_page(gmail, mailbox, account):
    for number in range(5):
        mailbox.receive_text("ann@example.com", f"Invoice {number}", "Please pay.")
    mailbox.receive_text("bob@example.com", "Lunch", "At noon?")
    first = gmail("gmail_search", query="from:ann@example.com", limit=3)
    assert [head["subject"] for head in first["messages"]] == ["Invoice 4", "Invoice 3", "Invoice 2"]
    assert first["messages"][0]["snippet"] == "Please pay."
    assert (first["account"], first["messages"][0]["sender"]) == ("work", "ann@example.com")
    rest = gmail("gmail_search", query="from:ann@example.com", limit=3, page=first["next_page"])
    assert ([head["subject"] for head in rest["messages"]], rest["next_page"]) == (
        ["Invoice 1", "Invoice 0"],
        None,
    )
    assert gmail("gmail_search", query="nothing-like-this")["messages"] == []
    assert gmail.refused("gmail_search", query="x", page="not-a-page").startswith("account_refused:")
    assert stored(account).last_used_at is not None


def test_html_is_read_as_text_and_files_are_listed(gmail, mailbox):
    mime = EmailMessage()
    mime["From"], mime["To"], mime["Subject"] = '"Shop" <shop@example.com>', ADDRESS, "Grüße"
    mime.set_content(
        "<html><head><style>p {color: red}</style></head><body><h1>Order</h1><p>Your <b>order</b>&nbsp;is ready."
        "<script>alert(1)</script></p><ul><li>Tea</li><li>Milk</li></ul>"
        '<a href="https://shop.example/o/1">See it</a></body></html>',
        subtype="html",
    )
    mime.add_attachment(b"%PDF-1.7 ...", maintype="application", subtype="pdf", filename="bill.pdf")
    read = gmail("gmail_read_message", message_id=mailbox.receive(mime).id)
    assert read["text"] == (
        "Order\n\nYour order is ready.\n\n- Tea\n\n- Milk\n\nSee it (https://shop.example/o/1)"
    )
    assert read["attachments"] == [
        {"number": 1, "name": "bill.pdf", "mime_type": "application/pdf", "size_bytes": 12}
    ]
    assert (read["subject"], read["next_start"]) == ("Grüße", None)


def test_a_long_text_comes_in_parts(gmail, mailbox):
    text = "".join(f"line {number:05}\n" for number in range(4_000))
    stored_mail = mailbox.receive_text("ann@example.com", "Long", text)
    got, start = "", 0
    while start is not None:
        part = gmail("gmail_read_message", message_id=stored_mail.id, start=start)
        assert len(part["text"]) <= 20_000
        got, start = got + part["text"], part["next_start"]
    assert got == text.strip()


def test_a_thread_is_read_oldest_first(gmail, mailbox):
    first = mailbox.receive_text("ann@example.com", "Plan", "What about Monday?")
    reply = EmailMessage()
    reply["From"], reply["To"], reply["Subject"] = ADDRESS, "ann@example.com", "Re: Plan"
    reply.set_content("Monday is fine.")
    mailbox.receive(reply, first.thread_id)
    read = gmail("gmail_read_thread", thread_id=first.thread_id)
    assert [message["text"] for message in read["messages"]] == ["What about Monday?", "Monday is fine."]
    assert read["left_out"] == 0
    assert gmail.refused("gmail_read_thread", thread_id="abc").startswith("item_not_found:")


def test_labels_are_listed_added_and_taken_by_name(gmail, mailbox):
    mail = mailbox.receive_text("ann@example.com", "Plan", "x")
    names = {label["name"]: label["is_system"] for label in gmail("gmail_list_labels")["labels"]}
    assert (names["INBOX"], names["Work"]) == (True, False)
    done = gmail("gmail_label", message_id=mail.id, add=["work", "STARRED"], remove=["UNREAD", "INBOX"])
    assert done["labels"] == ["Work", "STARRED"]
    assert mail.labels == ["Label_1", "STARRED"]
    words = gmail.refused("gmail_label", message_id=mail.id, add=["Nonsense"])
    assert words.startswith("invalid: There is no label Nonsense.")
    assert "Work" in words
    assert "at least one label" in gmail.refused("gmail_label", message_id=mail.id)


def test_a_mail_is_sent_with_copies_and_umlauts(gmail, mailbox):
    done = gmail(
        "gmail_send", to=["Ann Lee <ann@example.com>"], cc=["bob@example.com"], bcc=["eve@example.com"],
        subject="Grüße aus Köln", body="Ein Gruß.\nZweite Zeile.",
    )  # fmt: skip
    letter = sent(mailbox, done["message_id"])
    assert (letter["To"], letter["Cc"], letter["Bcc"]) == (
        "Ann Lee <ann@example.com>",
        "bob@example.com",
        "eve@example.com",
    )
    assert (letter["Subject"], letter.get_content()) == ("Grüße aus Köln", "Ein Gruß.\r\nZweite Zeile.\r\n")
    assert mailbox.mails[done["message_id"]].labels == ["SENT"]


def test_a_reply_stays_in_its_thread_and_goes_to_the_sender(gmail, mailbox):
    mail = mailbox.receive_text(
        '"Lee, Ann" <ann@example.com>', "Plan", "Monday?", References="<a@example.com> <b@example.com>"
    )
    # Whoever allows the call must see whom it reaches.
    assert "name the recipients" in gmail.refused("gmail_send", body="Yes.", reply_to_message_id=mail.id)
    done = gmail("gmail_send", to=["ann@example.com"], body="Yes.", reply_to_message_id=mail.id)
    letter = sent(mailbox, done["message_id"])
    assert (done["thread_id"], done["to"]) == (mail.thread_id, ["ann@example.com"])
    assert (letter["Subject"], letter["In-Reply-To"]) == ("Re: Plan", mail.mime["Message-ID"])
    assert letter["References"] == f"<a@example.com> <b@example.com> {mail.mime['Message-ID']}"
    draft = gmail(
        "gmail_create_draft", body="Or Tuesday?", reply_to_message_id=mail.id, cc=["bob@example.com"]
    )
    assert mailbox.drafts[draft["draft_id"]] == draft["message_id"]
    assert sent(mailbox, draft["message_id"])["To"] == "ann@example.com"
    assert (draft["thread_id"], sent(mailbox, draft["message_id"])["Cc"]) == (
        mail.thread_id,
        "bob@example.com",
    )


def test_a_mail_waits_for_a_person_where_no_rule_speaks(gateway, acme, mailbox, account):
    gmail = calling(gateway, acme, "gmail")
    letter = {"to": ["ann@example.com"], "subject": "Hello", "body": "x"}
    assert gmail.refused("gmail_send", **letter).startswith("approval_pending:")
    assert gmail("gmail_create_draft", **letter)["draft_id"]
    with tenant_transaction(acme.organisation.id):
        approval = Approval.objects.get()
    assert approval.subject["arguments"]["to"] == ["ann@example.com"]
    decide_approval(acme.owner, approval.id, "allow")
    eventually(lambda: ["SENT"] in [mail.labels for mail in mailbox.mails.values()])


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": ["ann@example.com\r\nBcc: eve@example.com"]}, {"to": ["ann@example.com, eve@example.com"]},
        {"to": ["nobody"]}, {"subject": "Hello\r\nBcc: eve@example.com"}, {"to": []}, {"subject": None},
        {"body": ""}, {"to": ["a@example.com"] * 51}, {"cc": ["<ann@example.com"]}, {"reply_to_message_id": "../x"},
    ],
)  # fmt: skip
def test_what_could_break_out_of_a_header_is_refused(gmail, mailbox, wrong):
    call = {"to": ["ann@example.com"], "subject": "Hello", "body": "x", **wrong}
    words = gmail.refused("gmail_send", **{name: value for name, value in call.items() if value is not None})
    assert words.startswith("invalid:")
    assert "This tool takes: to, cc, bcc, subject, body, attachments, reply_to_message_id, account." in words
    assert not mailbox.mails


def test_an_account_that_may_not_send_drafts_all_the_same(gateway, acme, mailbox):
    connect_gmail(acme, settings={"may_send": False})
    allow(acme, "gmail.*")
    gmail = calling(gateway, acme, "gmail")
    letter = {"to": ["ann@example.com"], "subject": "Hello", "body": "x"}
    assert "Use gmail_create_draft" in gmail.refused("gmail_send", **letter)
    assert gmail("gmail_create_draft", **letter)["draft_id"]
    assert [mail.labels for mail in mailbox.mails.values()] == [["DRAFT"]]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("throttle", "account_throttled: Gmail wants fewer calls. Try again in 7 seconds."),
        ("user_limit", "account_throttled:"),
        ("forbid", "account_denied: Gmail does not permit this: The domain policy"),
        ("error", "account_unreachable:"),
        ("garbage", "account_refused:"),
    ],
)
def test_what_gmail_refuses_is_said_in_words_and_ends_nothing(gmail, mailbox, account, how, code):
    mailbox.faults.plan(Fault(how, method="list", retry_after_s=7))
    assert gmail.refused("gmail_search", query="x").startswith(code)
    assert stored(account).status == "ok"
    assert gmail("gmail_search", query="x")["messages"] == []


def test_an_authorization_that_is_too_narrow_needs_a_person(gmail, mailbox, account):
    mailbox.faults.plan(Fault("narrow", method="list"))
    assert "A person must connect it again" in gmail.refused("gmail_search", query="x")
    assert stored(account).status == "unauthorised"


def test_tools_say_what_they_do_outside(gmail):
    from tests.gateway.serving import rpc

    tools = rpc(gmail.url, gmail.token, "tools/list").json()["result"]["tools"]
    hints = {tool["name"]: tool["annotations"] for tool in tools}
    assert hints["gmail_send"]["destructiveHint"] is True
    assert hints["gmail_search"]["readOnlyHint"] is True
    assert all(each["openWorldHint"] is True for each in hints.values())
