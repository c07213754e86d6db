"""Run as a process of its own, which imports nothing of ours: reads a file from its input, writes what is in it.

Arguments: what it is, the longest edge of a picture in pixels, the most characters of text. The first line of the
output is JSON, what follows is the text in UTF-8 or the smaller picture, empty where the picture may stay as it is.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import zipfile
from collections.abc import Iterator

MAX_MEMORY_BYTES = 1024**3
MAX_CPU_S = 20
MAX_UNPACKED_BYTES = 200 * 1024**2
MAX_PARTS = 10_000
MAX_PIXELS = 100_000_000
MAX_PAGES = 2_000
MAX_CELLS = 500_000


def main() -> None:
    what, edge, chars = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    data = sys.stdin.buffer.read()
    head, rest = shrink(data, edge) if what == "image" else read_text(READERS[what](data), chars)
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + rest)


def read_text(pieces: Iterator[str], chars: int) -> tuple[dict[str, bool], bytes]:
    """Join pieces of text up to a length."""
    kept, left = [], chars
    for piece in pieces:
        kept.append(piece[:left])
        left -= len(piece) + 1
        if left <= 0:
            break
    return {"is_cut": left <= 0}, "\n".join(kept).encode("utf-8", "replace")


def shrink(data: bytes, edge: int) -> tuple[dict[str, tuple[int, int]], bytes]:
    """Make a picture fit into a square. One that fits, or moves, stays as it is."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses twice as much
    with Image.open(io.BytesIO(data)) as picture:
        was = picture.size
        if max(was) <= edge or getattr(picture, "is_animated", False):
            picture.verify()
            return {"was": was, "now": was}, b""
        kind = picture.format
        picture.draft("RGB", (edge, edge))  # a JPEG is decoded at a fraction of its size
        upright = ImageOps.exif_transpose(picture)
        upright.thumbnail((edge, edge), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        upright.save(out, format=kind)
        return {"was": was, "now": upright.size}, out.getvalue()


def read_pdf(data: bytes) -> Iterator[str]:
    """Yield the text of each page."""
    from pypdf import PdfReader

    for number, page in enumerate(PdfReader(io.BytesIO(data)).pages, start=1):
        if number > MAX_PAGES:
            return
        if text := page.extract_text().strip():
            yield f"--- page {number} ---\n{text}"


def read_docx(data: bytes) -> Iterator[str]:
    """Yield paragraphs and the rows of tables, in their order."""
    from docx import Document
    from docx.table import Table

    for part in Document(checked(data)).iter_inner_content():
        if isinstance(part, Table):
            for row in part.rows:
                yield "\t".join(cell.text for cell in row.cells)
        else:
            yield part.text


def read_xlsx(data: bytes) -> Iterator[str]:
    """Yield the rows of each sheet, with the values that formulas had when the file was saved."""
    from openpyxl import load_workbook

    left = MAX_CELLS
    book = load_workbook(checked(data), read_only=True, data_only=True)
    for sheet in book.worksheets:
        yield f"--- sheet {sheet.title} ---"
        for row in sheet.iter_rows(values_only=True):
            left -= len(row)
            if left < 0:
                return
            if any(value is not None for value in row):
                yield "\t".join("" if value is None else str(value) for value in row)


def read_pptx(data: bytes) -> Iterator[str]:
    """Yield the text of each slide and its notes."""
    from pptx import Presentation

    for number, slide in enumerate(Presentation(checked(data)).slides, start=1):
        yield f"--- slide {number} ---"
        for shape in slide.shapes:
            if shape.has_text_frame:
                yield shape.text_frame.text
            elif getattr(shape, "has_table", False):
                for row in shape.table.rows:
                    yield "\t".join(cell.text for cell in row.cells)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            yield f"Notes: {slide.notes_slide.notes_text_frame.text}"


def checked(data: bytes) -> io.BytesIO:
    """Refuse an archive that says that it unpacks to too much; one that lies meets the memory's bound."""
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream) as archive:
        parts = archive.infolist()
    if len(parts) > MAX_PARTS or sum(part.file_size for part in parts) > MAX_UNPACKED_BYTES:
        raise ValueError("the archive unpacks to too much")
    stream.seek(0)
    return stream


READERS = {"pdf": read_pdf, "docx": read_docx, "xlsx": read_xlsx, "pptx": read_pptx}

if __name__ == "__main__":
    main()
