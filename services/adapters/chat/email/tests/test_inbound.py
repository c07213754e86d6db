"""What is read of mails: who wrote them, what is new in them, which thread they are in, which are not answered."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage

import pytest

from services.adapters.chat.email.addresses import find_tag, reply_address
from services.adapters.chat.email.inbound import Stored, find_lost_tag, read_letter
from services.adapters.chat.email.tests.conformance import ADDRESS, AUTHSERV, CONFIG, PASSED, PERSON, letter
from services.adapters.chat.email.verdict import reason_to_doubt
from services.domain.ports.chat import ChatKind, InboundMessage, Parsed

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
STORED = Stored(7, 11)
LIST = {"List_Id": "<ops.lists.example.org>", "List_Post": "<mailto:Ops@lists.example.org>"}


def parsed(mime: EmailMessage) -> Parsed:
    return read_letter(CONFIG, mime.as_bytes(), STORED, NOW)


def read(mime: EmailMessage) -> InboundMessage:
    (message,) = parsed(mime).messages
    return message


def test_a_verified_mail_is_of_its_sender() -> None:
    message = read(letter("hello"))
    assert (message.place.chat_id, message.sender.platform_id) == (PERSON, PERSON)
    assert (message.sender.display_name, message.chat_title) == ("Alice", f"Alice <{PERSON}>")
    assert message.chat_kind is ChatKind.DIRECT


@pytest.mark.parametrize(
    ("headers", "doubt"),
    [
        ([], "no check of its sender"),
        ([PASSED], None),
        ([f"{AUTHSERV}; dmarc=fail header.from=example.org"], "dmarc=fail"),
        ([f"{AUTHSERV}; dmarc=none header.from=example.org; dkim=pass header.d=example.org"], "dmarc=none"),
        ([f"{AUTHSERV}; dmarc=pass header.from=evil.org"], "dmarc is of another domain"),
        (["evil.org; dmarc=pass header.from=example.org"], "no check of its sender"),
        ([f"{AUTHSERV}.evil.org; dmarc=pass header.from=example.org"], "no check of its sender"),
        ([PASSED, f"{AUTHSERV}; dmarc=fail header.from=example.org"], "dmarc=fail"),
        ([f"{AUTHSERV.upper()}; dmarc=pass header.from=Example.ORG"], None),
        ([f"{AUTHSERV}; dkim=pass header.d=example.org"], None),
        ([f"{AUTHSERV}; dkim=pass header.i=@example.org"], None),
        ([f"{AUTHSERV}; dkim=fail header.d=example.org"], "dkim=fail"),
        ([f"{AUTHSERV}; dkim=pass header.d=evil.org"], "dkim is of another domain"),
        ([f"{AUTHSERV}; dkim=pass header.d=org"], "dkim is of another domain"),
        ([f"{AUTHSERV}; dkim=pass header.d=notexample.org"], "dkim is of another domain"),
        ([f"{AUTHSERV}; spf=pass smtp.mailfrom=alice@example.org"], "no check of its sender"),
        ([f"{AUTHSERV}; none"], "no check of its sender"),
        ([f"{AUTHSERV}; dmarc=pass ;;; ((", "\x00"], "no check of its sender"),
    ],
)
def test_only_the_trusted_servers_checks_count(headers: list[str], doubt: str | None) -> None:
    assert reason_to_doubt(headers, AUTHSERV, PERSON) == doubt


def test_a_signature_of_the_domain_above_is_one_of_the_senders() -> None:
    checked = [f"{AUTHSERV}; dkim=pass header.d=example.org"]
    assert reason_to_doubt(checked, AUTHSERV, "alice@mail.example.org") is None


def test_a_link_that_trusts_nobody_knows_nobody() -> None:
    assert reason_to_doubt([PASSED], "", PERSON) == "this link trusts no server's checks"


def test_an_unverified_sender_is_nobody_who_is_known_and_has_a_chat_of_their_own() -> None:
    message = read(letter("pay me", Authentication_Results=""))
    assert message.sender.platform_id == f"unverified:{PERSON}"
    assert message.place.chat_id == f"unverified:{PERSON}"
    assert message.sender.display_name == "Alice (unverified: no check of its sender)"
    assert message.raw["doubt"] == "no check of its sender"


@pytest.mark.parametrize(
    ("mime", "reason"),
    [
        (letter("x", sender=ADDRESS), "own_message"),
        (letter("x", sender="agent+abc@MAIL.example"), "own_message"),
        (letter("x", Auto_Submitted="auto-replied"), "automatic_mail"),
        (letter("x", Auto_Submitted="auto-generated; owner=x"), "automatic_mail"),
        (letter("x", X_Auto_Response_Suppress="OOF, AutoReply"), "automatic_mail"),
        (letter("x", X_Auto_Response_Suppress="All"), "automatic_mail"),
        (letter("x", X_Autoreply="yes"), "automatic_mail"),
        (letter("x", Precedence="auto_reply"), "automatic_mail"),
        (letter("x", Precedence="bulk"), "bulk_mail"),
        (letter("x", Precedence="junk"), "bulk_mail"),
        (letter("x", List_Id="<news.example.org>"), "mailing_list"),
        (letter("x", List_Id="<news.example.org>", List_Post="NO"), "mailing_list"),
        (letter("x", Return_Path="<>"), "bounce"),
        (letter("x", Content_Type="multipart/report; report-type=delivery-status"), "bounce"),
        (letter("x", sender="MAILER-DAEMON@example.org"), "automatic_mail"),
        (letter("x", sender="no-reply@example.org"), "automatic_mail"),
        (letter("x", From="alice@example.org, bob@example.org"), "unreadable_sender"),
        (letter("x", From="nobody"), "unreadable_sender"),
        (letter("x", From=f"{'a' * 60}@{'b' * 60}.example.org"), "unreadable_sender"),
        (letter("  "), "no_text"),
    ],
)
def test_what_is_not_answered_has_its_reason(mime: EmailMessage, reason: str) -> None:
    assert parsed(mime) == Parsed(ignored=reason)


def test_what_a_person_sent_by_hand_is_answered() -> None:
    assert read(letter("x", Auto_Submitted="no")).text == "x"
    assert read(letter("x", X_Auto_Response_Suppress="DR, RN")).text == "x"


def test_a_list_with_an_address_is_a_chat_of_many() -> None:
    message = read(letter("hi all", To="ops@lists.example.org", Precedence="list", **LIST))
    assert (message.place.chat_id, message.chat_kind) == ("ops@lists.example.org", ChatKind.CHANNEL)
    assert not message.is_mention
    assert message.sender.platform_id == PERSON
    assert read(letter("hi agent", Cc=ADDRESS, To="ops@lists.example.org", **LIST)).is_mention


def test_a_name_that_only_looks_like_another_sender_does_not_count() -> None:
    message = read(letter("x", From='"ceo@example.org" <mallory@example.org>'))
    assert message.sender.platform_id == "mallory@example.org"


# --- What is written -------------------------------------------------------------------------------------


def test_a_new_mail_has_its_subject_and_an_answer_has_not() -> None:
    assert read(letter("the text", subject="A matter")).text == "Subject: A matter\n\nthe text"
    assert read(letter("the text", subject="Re: A matter", In_Reply_To="<a@b>")).text == "the text"
    assert read(letter("", subject="just this")).text == "just this"


@pytest.mark.parametrize(
    "quoted",
    [
        "On Mon, 2 Mar 2026 at 10:00, Agent <agent@mail.example> wrote:\n> Old words\n> of yours",
        "Am 02.03.2026 um 10:00 schrieb Agent <agent@mail.example>:\n> Old words\n> of yours",
        "Le lun. 2 mars 2026 à 10:00, Agent <agent@mail.example> a écrit :\n> Old words",
        "> Old words\n> of yours",
        "-----Original Message-----\nFrom: Agent <agent@mail.example>\nSent: Monday\nSubject: x\n\nOld words",
    ],
)
def test_what_an_answer_quotes_is_cut_off(quoted: str) -> None:
    message = read(letter(f"Yes, please.\n\n{quoted}\n", subject="Re: x", In_Reply_To="<a@b>"))
    assert message.text == "Yes, please."


def test_a_forwarded_mail_is_kept_whole() -> None:
    text = "See below.\n\n---------- Forwarded message ---------\nFrom: Bob <bob@x.org>\n\n> The matter"
    message = read(letter(text, subject="Fwd: x", References="<a@b>"))
    assert "The matter" in message.text
    assert "Bob" in message.text


def test_html_is_read_where_there_is_no_plain_text() -> None:
    mime = letter("x")
    mime.set_content("<p>Hello <b>there</b></p><script>alert(1)</script>", subtype="html")
    assert read(mime).text == "Hello there"


def test_attachments_are_files_with_where_they_lie() -> None:
    mime = letter("look")
    mime.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="Größe.pdf")
    mime.add_attachment(b"a,b", maintype="text", subtype="csv", filename="b.csv")
    message = read(mime)
    assert [(file.ref, file.name, file.content_type, file.size) for file in message.files] == [
        ("7.11.1", "Größe.pdf", "application/pdf", 5),
        ("7.11.2", "b.csv", "text/csv", 3),
    ]
    assert message.text == "[file: Größe.pdf] [file: b.csv] look"


def test_a_time_that_cannot_be_is_the_time_at_which_it_was_read() -> None:
    assert read(letter("x", Date="Mon, 02 Mar 2026 08:00:00 +0100")).sent_at.isoformat() == (
        "2026-03-02T08:00:00+01:00"
    )
    for wrong in ("yesterday", "Mon, 02 Mar 2099 08:00:00 +0000", "Mon, 99 Mar 2026 08:00:00 +9900"):
        assert read(letter("x", Date=wrong)).sent_at == NOW


# --- Which mail, and which thread ------------------------------------------------------------------------


def test_the_same_mail_has_the_same_key_however_it_came() -> None:
    mime = letter("x")
    again = EmailMessage()
    again["Received"] = "from elsewhere by mx"
    raw = mime.as_bytes()
    one = read_letter(CONFIG, raw, STORED, NOW).messages[0]
    two = read_letter(CONFIG, again.as_bytes().rstrip() + b"\n" + raw, Stored(8, 99), NOW).messages[0]
    assert one.dedupe_key == two.dedupe_key


def test_an_id_that_is_used_again_for_another_mail_hides_none() -> None:
    first, second = (read(letter(text, Message_ID="<same@x>")) for text in ("one", "two"))
    assert first.dedupe_key != second.dedupe_key
    without = [read(letter(text, Message_ID="")) for text in ("one", "two")]
    assert len({message.dedupe_key for message in without} | {first.dedupe_key}) == 3
    assert all(message.message_id for message in without)


def test_a_thread_is_known_by_the_mail_that_began_it() -> None:
    began = read(letter("one", Message_ID="<first@x>"))
    assert began.place.thread_id == "first@x"
    many = " ".join(f"<{number}@x>" for number in range(40))
    answer = read(letter("two", References=f"<first@x> {many}", In_Reply_To="<39@x>"))
    assert (answer.place.thread_id, answer.reply_to) == ("first@x", "39@x")
    assert read(letter("three", In_Reply_To="<first@x>")).place.thread_id == "first@x"
    long = read(letter("four", Message_ID=f"<{'y' * 300}@x>"))
    assert len(long.place.thread_id or "") <= 120


def test_the_reply_address_finds_the_thread_of_clients_that_name_none() -> None:
    to = reply_address(CONFIG, PERSON, "first@x")
    tag = find_tag(CONFIG, [to])
    assert to != ADDRESS
    assert tag is not None
    raw = letter("two", To=f"Agent <{to}>").as_bytes()
    assert find_lost_tag(CONFIG, raw) == tag

    def thread(raw: bytes) -> str | None:
        return read_letter(CONFIG, raw, STORED, NOW, tagged_thread="first@x").messages[0].place.thread_id

    assert thread(raw) == "first@x"
    other_person = letter("two", To=to, sender="bob@example.org", Message_ID="<own@x>").as_bytes()
    assert thread(other_person) == "own@x"
    forged = letter("two", To=ADDRESS.replace("@", f"+{'a' * 20}@"), Message_ID="<own@x>").as_bytes()
    assert thread(forged) == "own@x"
    assert find_lost_tag(CONFIG, letter("x", To=to, References="<first@x>").as_bytes()) is None


def test_no_tag_is_made_where_the_server_takes_none() -> None:
    plain = CONFIG.model_copy(update={"has_plus_addresses": False})
    assert reply_address(plain, PERSON, "first@x") == ADDRESS
    long = CONFIG.model_copy(update={"address": f"{'a' * 60}@mail.example"})
    assert reply_address(long, PERSON, "first@x") == long.address
