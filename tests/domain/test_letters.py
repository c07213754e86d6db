"""Mail as text and as MIME: what a reader sees, and what cannot break out of a header."""

from __future__ import annotations

import time
from email import message_from_bytes, policy

import pytest

from services.kit.file_names import MAX_NAME_BYTES, clean_name, content_type_of
from services.kit.html_text import html_to_text
from services.kit.letters import Enclosure, Letter, find_references, is_address, reply_subject, write_letter


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("a<br>b &amp; c &lt;d&gt;", "a\nb & c <d>"),
        ("<script>x()</script><style>y</style>seen", "seen"),
        ('<a href="https://a.example/x">here</a>', "here (https://a.example/x)"),
        ('<a href="https://a.example">https://a.example</a>', "https://a.example"),
        ('<a href="javascript:alert(1)">click</a>', "click"),
        ("<table><tr><td>Tea</td><td>3</td></tr></table>", "Tea 3"),
        ('<img alt="Logo" src="x">', "[Logo]"),
        ("a\n   b\t c", "a b c"),
        ("</script>still", "still"),
        ("<b>unclosed <i>tags", "unclosed tags"),
        ("", ""),
    ],
)
def test_html_is_read_as_a_person_sees_it(html, text):
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<a ",
        "<!--",
        "&",
        "<div>",
        "<a href='https://x'>",
        "<a>",
        "<![",
        "</",
        "<svg>",
        "<svg></svg>",
        '<a href="',
        "</a>x<a>",
    ],
)
def test_html_that_means_no_good_is_read_in_no_time(piece):
    begun = time.monotonic()
    html_to_text(piece * (600_000 // len(piece)))
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("text", ["ann@example.com", "Ann Lee <ann@example.com>", "<ann@example.com>"])
def test_addresses(text):
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    ["", "ann", "ann@", "a@b.c, d@e.f", "a@b.c\r\nBcc: d@e.f", "Ann <a@b.c", "a@b.c>", "a b@c.d", '"A, B" <a@b.c>',
     "Ann\n <a@b.c>", "a@b.c;d@e.f", "a@b@c"],
)  # fmt: skip
def test_what_is_no_single_address(text):
    assert not is_address(text)


def test_a_reply_refers_to_what_it_answers():
    letter = Letter(
        ("ann@example.com",),
        "Re: Grüße",
        "Ja – gern.\n",
        in_reply_to="<2@x>",
        references=("<1@x>", "<2@x>"),
    )
    read = message_from_bytes(write_letter(letter), policy=policy.default)
    assert (read["In-Reply-To"], read["References"], read["Subject"]) == ("<2@x>", "<1@x> <2@x>", "Re: Grüße")
    assert read.get_content().replace("\r\n", "\n") == "Ja – gern.\n"


def test_a_header_with_a_line_break_is_not_written():
    with pytest.raises(ValueError, match=r"(?i)linefeed|newline|line"):
        write_letter(Letter(("a@b.c",), "Hello\r\nBcc: x@y.z", "x"))


def test_references_and_subjects_of_replies():
    assert find_references("<a@x> junk <b@x>\r\n <c@x>") == ("<a@x>", "<b@x>", "<c@x>")
    assert len(find_references("<a@x> " * 50)) == 20
    assert [reply_subject(text) for text in ("Plan", "RE: Plan", "two\r\n lines")] == [
        "Re: Plan",
        "RE: Plan",
        "Re: two lines",
    ]


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("bill.pdf", "bill.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Temp\\bill.pdf", "bill.pdf"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("a\r\nBcc: eve@x.example", "aBcc eve@x.example"),
        ("cod\u202efdp.exe", "codfdp.exe"),
        ("u\u0308ber  uns.txt", "über uns.txt"),
        ("a\x00b\ud800.txt", "ab.txt"),
        ("trailing. ", "trailing"),
        ("...", "file"),
        ("folder/", "file"),
        ("", "file"),
    ],
)
def test_a_files_name_is_one_harmless_part_of_a_path(name, clean):
    assert clean_name(name, "file") == clean


def test_a_long_name_keeps_its_ending():
    name = clean_name("ä" * 500 + ".tar.gz", "file")
    assert name.endswith("ä.gz")
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert len(clean_name("x." + "y" * 500, "file").encode()) == MAX_NAME_BYTES


def test_files_arrive_as_they_are_whatever_they_say_that_they_are():
    files = (
        Enclosure("Grüße\r\nBcc: eve@x.example.txt".replace("\r\n", " "), "text/plain", b"\xff\r\n.\r\nx"),
        Enclosure("mail.eml", "message/rfc822", b"Subject: x\n\nHello\xff"),
        Enclosure("odd", "nonsense", bytes(range(256)) * 40),
    )
    raw = write_letter(Letter(to=("ann@example.com",), subject="Files", body="See.", enclosures=files))
    read = message_from_bytes(raw, policy=policy.default)
    assert read["Bcc"] is None
    assert [part.get_payload(decode=True) for part in read.iter_attachments()] == [
        file.content for file in files
    ]
    assert [(part.get_filename(), part.get_content_type()) for part in read.iter_attachments()] == [
        ("Grüße Bcc: eve@x.example.txt", "text/plain"),
        ("mail.eml", "application/octet-stream"),
        ("odd", "application/octet-stream"),
    ]
    assert max(map(len, raw.splitlines())) <= 998


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.pdf", "application/pdf"),
        ("a.tar.gz", "application/gzip"),
        ("a.svg.br", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_a_type_follows_from_a_name(name, kind):
    assert content_type_of(name) == kind
