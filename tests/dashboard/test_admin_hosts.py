"""The desk's pages of hosts and volumes, and what their buttons do."""

from __future__ import annotations

import uuid

from conftest import recorded
from services.domain.plane.hosts import register_host
from services.domain.plane.models import Host, Volume
from services.domain.plane.volumes import Snapshot, get_database_time, mark_snapshot, note_volume
from services.domain.ports.sandbox import Promise
from tests.dashboard.test_admin import operator, press

__all__ = ["operator"]


def test_what_a_host_does_not_promise_is_shown_in_red_with_what_it_means(operator):
    register_host(
        "hosta", driver="fake", slots=4, missing_promises=list(Promise), accepted_gaps=[Promise.DISK_LIMIT]
    )
    register_host("hostb", driver="fake", slots=4)
    for page in ("/admin/plane/host/", "/admin/plane/host/hosta/change/", "/admin/"):
        text = operator.get(page).content.decode()
        assert text.count('class="desk-bad"') == len(Promise), page
        assert "one workspace can fill the host&#x27;s disk. An operator accepts this" in text
        assert "it is not known what this means" not in text
    assert "starts are refused" in operator.get("/admin/plane/host/").content.decode()
    assert 'class="desk-bad"' not in operator.get("/admin/plane/host/hostb/change/").content.decode()


def test_a_host_is_drained_and_takes_work_again_and_shows_it(operator):
    host = register_host("hosta", driver="fake", slots=4)
    note_volume(uuid.uuid4(), uuid.uuid4(), "hosta", "files", 1024, None)
    with recorded() as seen:
        assert "Draining: 1" in press(operator, Host, "drain", host)
    assert seen.job_types == ["host.drain"]
    assert "draining" in operator.get("/admin/plane/host/").content.decode()
    Volume.objects.all().delete()
    assert "drained" in operator.get("/admin/plane/host/").content.decode()
    assert "Taking work again: 1" in press(operator, Host, "undrain", host)
    assert Host.objects.get().is_draining is False


def test_a_host_is_fenced_by_a_click(operator):
    host = register_host("hosta", driver="fake", slots=4)
    assert "Fenced: 1" in press(operator, Host, "fence", host)
    assert Host.objects.get().fenced_at is not None
    assert "its work goes on elsewhere" in operator.get("/admin/").content.decode()


def test_a_volume_shows_where_it_lies_and_how_old_its_copy_is(operator, acme):
    register_host("hosta", driver="fake", slots=4)
    volume = note_volume(uuid.uuid4(), acme.organisation.id, "hosta", "files", 1024, None)
    text = operator.get("/admin/plane/volume/").content.decode()
    assert "none yet" in text
    mark_snapshot(volume, Snapshot("key", 2048, "ab" * 32, get_database_time()))
    Volume.objects.update(host=None)
    text = operator.get("/admin/plane/volume/").content.decode()
    assert "object storage" in text
    assert "minutes old" in text
    assert operator.get(f"/admin/plane/volume/{volume.pk}/change/").status_code == 200
