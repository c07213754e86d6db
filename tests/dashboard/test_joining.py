"""Invitations, new organisations, the organisation's own page and its log, at a browser."""

from __future__ import annotations

import re

from django.test import Client

from conftest import PASSWORD
from services.domain.identity.models import User
from tests.dashboard.conftest import assert_clean, sign_in


def link_of(page: str) -> str:
    return re.search(r"http://[^<\s]+(/join/[^<\s]+)", page)[1]


def csrf(client: Client) -> dict[str, str]:
    return {"csrfmiddlewaretoken": client.cookies["slipway_csrf"].value}


def test_an_invitation_leads_a_new_member_in(alice, acme):
    page = alice.post("/settings/members", {"email": "", "role": "member"}).content.decode()
    assert_clean(page)
    path = link_of(page)
    assert path not in alice.get("/settings/members").content.decode()
    User.objects.create_user("carol@elsewhere.example", PASSWORD)
    stranger = Client().get(path).content.decode()
    assert "Join Acme" in stranger
    assert f"/sign-in?next={path}" in stranger
    carol = sign_in("carol@elsewhere.example")
    offered = carol.get(path).content.decode()
    assert "Join as carol@elsewhere.example" in offered
    assert_clean(offered)
    assert carol.post(path, csrf(carol)).headers["Location"] == "/"
    assert '<span class="org-name">Acme</span>' in carol.get("/").content.decode()
    used = carol.get(path)
    assert used.status_code == 404
    assert "not open" in used.content.decode()


def test_somebody_in_no_organisation_makes_one(acme):
    User.objects.create_user("carol@elsewhere.example", PASSWORD)
    carol = sign_in("carol@elsewhere.example")
    assert "/organisations/new" in carol.get("/").content.decode()
    carol.get("/organisations/new")
    taken = carol.post("/organisations/new", {"name": "Acme", "slug": "acme", **csrf(carol)}).content.decode()
    assert "acme-2" in taken
    assert_clean(taken)
    made = carol.post("/organisations/new", {"name": "Carol's", "slug": "carols", **csrf(carol)})
    assert made.headers["Location"] == "/"
    assert "Carol&#x27;s" in carol.get("/").content.decode()


def test_an_owner_renames_and_a_member_leaves(alice, bob):
    renamed = alice.post("/settings/organisation", {"name": "Acme Inc", "slug": "acme-inc"})
    assert renamed.status_code == 302
    assert "Acme Inc" in bob.get("/settings/organisation").content.decode()
    assert bob.post("/settings/organisation/leave").headers["Location"] == "/"
    assert bob.get("/agents").status_code == 403
    alice.post("/settings/organisation/leave")
    assert "The last owner cannot leave." in alice.get("/settings/organisation").content.decode()


def test_the_log_is_read_by_admins(alice, bob, acme):
    alice.post(f"/settings/members/{acme.users['bob'].pk}/role", {"role": "viewer"})
    page = alice.get("/settings/audit").content.decode()
    assert "member.role_changed" in page
    assert_clean(page)
    narrowed = alice.get("/settings/audit?action=token.created&user=").content.decode()
    assert "<b>member.role_changed</b>" not in narrowed
    assert bob.get("/settings/audit").status_code == 403
