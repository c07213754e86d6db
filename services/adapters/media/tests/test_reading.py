"""Real files, and files made to break what reads them."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from docx import Document
from openpyxl import Workbook
from PIL import Image
from pptx import Presentation
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from services.adapters.media import reading
from services.adapters.media.reading import read_file
from services.adapters.media.sniffing import OFFICE, sniff

WORD, SHEET, SLIDES = OFFICE.values()


def picture(width: int, height: int, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "navy").save(out, kind, **options)
    return out.getvalue()


def pdf(text: str) -> bytes:
    writer = PdfWriter()
    page = writer.add_blank_page(300, 300)
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    stream = DecodedStreamObject()
    stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
    page[NameObject("/Contents")] = writer._add_object(stream)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def word() -> bytes:
    document = Document()
    document.add_paragraph("The quarter was good.")
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "income", "1,200"
    document.add_paragraph("The end.")
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def sheet() -> bytes:
    book = Workbook()
    book.active.title = "Figures"
    book.active.append(["month", "sum"])
    book.active.append(["May", 42.5])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def slides() -> bytes:
    show = Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = "Our plan"
    slide.notes_slide.notes_text_frame.text = "Speak slowly."
    out = io.BytesIO()
    show.save(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (picture(4, 4), "x.png", "image/jpeg"),
        (picture(4, 4, "PNG"), "report.pdf", "image/png"),
        (b"%PDF-1.7\n", "harmless.txt", "application/pdf"),
        (b"OggS" + b"\x00" * 20 + b"\x01\x1e\x01vorbis" + b"\x00" * 20, "voice.ogg", "audio/ogg"),
        (b"a,b\n1,2\n", "table.csv", "text/csv"),
        (b"# T\xc3\xa4st\n", "notes.md", "text/markdown"),
        (b"<script>1</script>", "page", "text/plain"),
        (b"just words", "program.exe", "text/plain"),
        (b"\x00\x01\x02\xff", "words.txt", "application/octet-stream"),
    ],
)
def test_a_files_type_is_what_its_bytes_say(data: bytes, name: str, kind: str) -> None:
    assert sniff(data, name) == kind


def test_office_formats_are_told_from_other_archives() -> None:
    assert sniff(word(), "x.bin") == WORD
    assert sniff(sheet(), "x.bin") == SHEET
    assert sniff(slides(), "x.bin") == SLIDES
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("word/document.xml", "no content types")
    assert sniff(out.getvalue(), "x.docx") == "application/zip"
    assert sniff(b"PK\x03\x04 and nothing more", "x.docx") == "application/zip"


def test_the_text_of_documents_is_read() -> None:
    assert "Good morning" in read_file(pdf("Good morning"), "a.pdf").text
    text = read_file(word(), "a.docx").text
    assert text.index("The quarter was good.") < text.index("income\t1,200") < text.index("The end.")
    assert "May\t42.5" in read_file(sheet(), "a.xlsx").text
    shown = read_file(slides(), "a.pptx").text
    assert "Our plan" in shown
    assert "Notes: Speak slowly." in shown


def test_a_scanned_document_says_that_it_has_no_text() -> None:
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    out = io.BytesIO()
    writer.write(out)
    found = read_file(out.getvalue(), "scan.pdf")
    assert found.text == ""
    assert found.note == "there is no text in it; it may be scanned"
    assert found.data == out.getvalue()


def test_a_large_picture_is_made_smaller_and_a_small_one_stays() -> None:
    large = picture(5000, 1000)
    found = read_file(large, "roof.jpg")
    with Image.open(io.BytesIO(found.data)) as smaller:
        assert (smaller.size, smaller.format) == ((2048, 410), "JPEG")
    assert found.note == "made smaller, from 5000 × 1000 to 2048 × 410 pixels"
    small = picture(2048, 30, "PNG")
    assert read_file(small, "x.png").data == small


def test_a_turned_picture_is_upright_when_it_was_made_smaller() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    found = read_file(picture(4000, 1000, exif=exif.tobytes()), "x.jpg")
    with Image.open(io.BytesIO(found.data)) as upright:
        assert upright.size == (512, 2048)


def test_a_picture_that_unpacks_to_too_much_is_kept_as_it_came() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\x00" * 1_000_000, 9)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    found = read_file(bomb, "bomb.png")
    assert found.data == bomb
    assert "could not be opened" in found.note


def test_an_archive_that_unpacks_to_too_much_is_kept_without_its_text() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(word())) as good, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bad:
        for part in good.namelist():
            if part != "word/document.xml":
                bad.writestr(part, good.read(part))
        bad.writestr("word/document.xml", b" " * (300 * 1024**2))
    bomb = out.getvalue()
    assert len(bomb) < 1_000_000
    found = read_file(bomb, "bomb.docx")
    assert (found.content_type, found.text, found.note) == (WORD, "", "its text could not be read")


def test_an_archive_that_lies_about_its_size_meets_the_bound_of_memory() -> None:
    out = io.BytesIO()
    size = 900 * 1024**2
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bad:
        bad.writestr("[Content_Types].xml", "<Types/>")
        with bad.open("word/document.xml", "w", force_zip64=True) as part:
            for _ in range(size // 1024**2):
                part.write(b" " * 1024**2)
    lie = out.getvalue().replace(struct.pack("<Q", size), struct.pack("<Q", 1000))
    lie = lie.replace(struct.pack("<I", size), struct.pack("<I", 1000))
    assert read_file(lie, "x.docx").note == "its text could not be read"


def test_a_reader_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_TIME_S", 0.01)
    assert read_file(word(), "x.docx").note == "its text could not be read"


@pytest.mark.parametrize("what", ["docx", "xlsx", "pptx", "pdf", "jpeg"])
def test_a_damaged_file_is_kept_as_it_came(what: str) -> None:
    made: dict[str, Callable[[], bytes]] = {
        "docx": word,
        "xlsx": sheet,
        "pptx": slides,
        "pdf": lambda: pdf("x"),
        "jpeg": lambda: picture(3000, 9),
    }
    whole = made[what]()
    damaged = whole[: len(whole) // 2] + b"\xff" * 50
    found = read_file(damaged, f"x.{what}")
    assert found.data == damaged
    assert not found.text or what == "pdf"


def test_long_text_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_TEXT_CHARS", 10)
    found = read_file(word(), "x.docx")
    assert (found.text, found.note) == ("The quarte", "its text is not complete")


def test_a_reader_knows_nothing_of_the_process_that_asks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text("import os, json\nprint('{}')\nprint(json.dumps(dict(os.environ)))")
    monkeypatch.setenv("SLIPWAY_SECRET_KEY", "hush")
    monkeypatch.setattr(reading, "_PROGRAM", program)
    assert json.loads(read_file(word(), "x.docx").text) == {"LC_ALL": "C.UTF-8"}
