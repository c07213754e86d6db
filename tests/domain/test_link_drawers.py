"""What a link's adapter keeps: sealed, versioned so that no process undoes another's change, and the tenant's own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.adapters.chat.registry import build_adapters
from services.domain.chats.actions import create_link
from services.domain.chats.drawers import LinkDrawer, all_tenants_forget_entries, configured
from services.domain.chats.models import Link, LinkEntry
from services.domain.ports.chat_abilities import Entry
from services.kit.clock import now


@pytest.fixture
def link(acme) -> Link:
    return create_link(acme.owner, kind="matrix", name="Helper", config={"access_token": "syt_secret"})


@pytest.fixture
def drawer(acme, link) -> LinkDrawer:
    return LinkDrawer(acme.organisation.id, link.id)


def test_what_is_written_is_read_again_and_lies_sealed(drawer):
    assert drawer.read(["account", "peer"]) == {}
    assert drawer.write({"account": Entry("a key")})
    assert drawer.read(["account", "peer"]) == {"account": Entry("a key", 1)}
    (row,) = LinkEntry.objects.using("operator").all()
    assert b"a key" not in bytes(row.sealed)


def test_of_two_who_change_what_they_read_the_second_changes_nothing(drawer):
    drawer.write({"account": Entry("one"), "peer": Entry("one")})
    assert drawer.write({"account": Entry("two", 1)})
    assert not drawer.write({"account": Entry("three", 1), "peer": Entry("three", 1)})
    assert not drawer.write({"account": Entry("three")})
    assert drawer.read(["account", "peer"]) == {"account": Entry("two", 2), "peer": Entry("one", 1)}


def test_another_organisation_finds_nothing_and_writes_nothing(drawer, globex, link):
    drawer.write({"account": Entry("a key")})
    theirs = LinkDrawer(globex.organisation.id, link.id)
    assert theirs.read(["account"]) == {}
    assert not theirs.write({"account": Entry("theirs", 1)})
    assert not theirs.write({"other": Entry("theirs")})
    assert drawer.read(["account", "other"]) == {"account": Entry("a key", 1)}


def test_what_was_kept_for_some_days_is_forgotten_after_them(drawer):
    drawer.write({"for ever": Entry("a"), "for days": Entry("b", keep_days=60)})
    assert all_tenants_forget_entries() == 0
    LinkEntry.objects.using("operator").filter(name="for days").update(
        expires_at=now() - timedelta(seconds=1)
    )
    assert all_tenants_forget_entries() == 1
    assert list(drawer.read(["for ever", "for days"])) == ["for ever"]


def test_the_adapters_that_keep_something_are_given_the_links_drawer(acme, link, drawer):
    adapters = build_adapters({})
    config = configured(adapters["matrix"], {"access_token": "syt_secret"}, acme.organisation.id, link.id)
    drawer.write({"account": Entry("a key")})
    assert config.drawer.read(["account"]) == {"account": Entry("a key", 1)}
    assert "syt_secret" not in repr(config)
    telegram = configured(adapters["telegram"], {"bot_token": "1:" + "x" * 35}, acme.organisation.id, link.id)
    assert not hasattr(telegram, "drawer")
