"""A room's page: writing with files, in threads, and reacting, with the page's script and without it."""

from __future__ import annotations

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from services.api import room_files
from services.domain.rooms.actions import open_room
from services.domain.rooms.queries import list_entries
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment
from tests.dashboard.conftest import assert_clean

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


@pytest.fixture
def room(acme, tmp_path, monkeypatch):
    monkeypatch.setattr(environment(), "storage_dir", tmp_path / "objects")
    room_files._storage.cache_clear()
    yield open_room(acme.owner, "Plans")
    room_files._storage.cache_clear()


def entries(acme, room, **where):
    with tenant_transaction(acme.organisation.id):
        return list_entries(acme.owner, room.id, **where)


def test_files_are_written_with_shown_and_downloaded(alice, mallory, acme, room):
    path = f"/rooms/{room.id}"
    files = [SimpleUploadedFile("plan (1).txt", b"the plan"), SimpleUploadedFile("dot.png", PNG)]
    assert alice.post(path, {"text": "", "key": "k1", "files": files}).status_code == 302
    page = alice.get(path).content.decode()
    assert_clean(page)
    assert "plan (1).txt" in page
    links = re.findall(rf'href="({path}/files/[^"]+)"', page)
    text, picture = (alice.get(link) for link in links)
    assert b"".join(text.streaming_content) == b"the plan"
    assert text.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in text.headers["Content-Security-Policy"]
    assert picture.headers["Content-Type"] == "image/png"
    assert b"".join(picture.streaming_content) == PNG
    assert f'<img src="{links[1]}"' in page
    assert mallory.get(links[0]).status_code == 404


def test_a_thread_has_a_page_of_its_own(alice, acme, room):
    path = f"/rooms/{room.id}"
    alice.post(path, {"text": "When do we ship?", "key": "k1"})
    (root,) = entries(acme, room)
    thread = f"{path}?thread={root.message_id}"
    answer = alice.post(path, {"text": "On Monday.", "key": "k2", "thread_id": root.message_id})
    assert answer.headers["Location"] == thread
    page = alice.get(thread).content.decode()
    assert_clean(page)
    assert page.index("When do we ship?") < page.index("On Monday.")
    main = alice.get(path).content.decode()
    assert "1 reply" in main
    assert "On Monday." not in main
    assert alice.get(f"{path}?thread=nothing").status_code == 404


def test_a_reaction_is_given_and_taken_back(alice, acme, room):
    path = f"/rooms/{room.id}"
    alice.post(path, {"text": "Shipped", "key": "k1"})
    (entry,) = entries(acme, room)
    alice.post(f"{path}/react", {"message_id": entry.message_id, "emoji": "🎉"})
    assert [one.emoji for one in entries(acme, room)[0].reactions] == ["🎉"]
    assert 'name="taken_back" value="🎉"' in alice.get(path).content.decode()
    answer = alice.post(
        f"{path}/react", {"message_id": entry.message_id, "taken_back": "🎉"}, HTTP_ACCEPT="application/json"
    )
    assert answer.status_code == 202
    assert entries(acme, room)[0].reactions == ()
    refused = alice.post(
        f"{path}/react", {"message_id": entry.message_id, "emoji": "no"}, HTTP_ACCEPT="application/json"
    )
    assert refused.json()["error"]["message"] == "This is no emoji."
