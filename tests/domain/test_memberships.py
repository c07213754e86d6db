"""Invitations, roles, leaving, names, and the log of all that: what each changes, what it refuses, what it records."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import ProgrammingError, connections, transaction

from conftest import PASSWORD, make_tenant, recorded
from services.domain.agents.people import put_agent_person, remove_agent_person
from services.domain.audit.models import AuditAction, AuditRecord
from services.domain.audit.queries import all_tenants_forget_audit, all_tenants_forget_audit_of
from services.domain.errors import (
    AlreadyMember,
    Invalid,
    InvitationMissing,
    LastOwner,
    Missing,
    NameTaken,
    NotPermitted,
    RoleMissing,
)
from services.domain.identity.invitations import (
    all_tenants_accept_invitation,
    all_tenants_find_offer,
    invite,
    revoke_invitation,
)
from services.domain.identity.members import add_member, change_role, leave_organisation, remove_member
from services.domain.identity.models import Membership, Organisation, User
from services.domain.identity.organisations import (
    all_tenants_check_name,
    all_tenants_open_organisation,
    all_tenants_suspend_organisation,
    rename_organisation,
)
from services.domain.identity.queries import all_tenants_actor_of
from services.domain.letters.models import OutgoingLetter
from services.domain.letters.posting import all_tenants_find_letter
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.actions import update_secret
from services.kit.clock import now
from services.kit.environment import environment
from tests.domain.cast import keep_one_of_each


def somebody(name: str) -> User:
    return User.objects.create_user(f"{name}@elsewhere.example", PASSWORD)


def actions_of(tenant) -> list[str]:
    """Return the newest records' actions first."""
    rows = AuditRecord.objects.using("operator").filter(org_id=tenant.organisation.id)
    return list(rows.order_by("-id").values_list("action", flat=True))


def test_an_invitation_makes_a_member_once(acme):
    carol, dave = somebody("carol"), somebody("dave")
    _, text = invite(acme.owner, email="", role="member")
    offer = all_tenants_find_offer(text)
    assert (offer.organisation.slug, offer.role, offer.invited_by) == ("acme", "member", "alice")
    assert all_tenants_accept_invitation(carol, text).slug == "acme"
    assert all_tenants_actor_of(carol, acme.organisation.id).role == "member"
    with pytest.raises(InvitationMissing):
        all_tenants_accept_invitation(dave, text)
    assert actions_of(acme)[:2] == ["invitation.accepted", "invitation.created"]


def test_an_invitation_dies_of_age_of_revocation_of_a_newer_one_and_of_suspension(acme, monkeypatch):
    carol = somebody("carol")
    row, text = invite(acme.owner, email="", role="member")
    later = now() + timedelta(days=7, seconds=1)
    with monkeypatch.context() as patched:
        patched.setattr("services.domain.identity.invitations.now", lambda: later)
        with pytest.raises(InvitationMissing):
            all_tenants_accept_invitation(carol, text)
    revoke_invitation(acme.owner, row.id)
    with pytest.raises(Missing):
        revoke_invitation(acme.owner, row.id)
    _, first = invite(acme.owner, email=carol.email, role="member")
    _, second = invite(acme.owner, email=carol.email.upper(), role="viewer")
    for dead in (text, first, "swi_unknown"):
        with pytest.raises(InvitationMissing):
            all_tenants_accept_invitation(carol, dead)
    all_tenants_suspend_organisation(acme.organisation.id)
    with pytest.raises(InvitationMissing):
        all_tenants_accept_invitation(carol, second)


def test_an_invitation_by_address_is_for_that_account_and_not_for_members(acme):
    carol, dave = somebody("carol"), somebody("dave")
    _, text = invite(acme.owner, email=carol.email, role="member")
    with pytest.raises(NotPermitted):
        all_tenants_accept_invitation(dave, text)
    all_tenants_accept_invitation(carol, text)
    with pytest.raises(AlreadyMember):
        invite(acme.owner, email=carol.email, role="member")
    with pytest.raises(Invalid):
        invite(acme.owner, email="nobody\nBcc: all@example.com", role="member")


def test_a_member_who_follows_a_link_does_not_use_it_up(acme):
    _, text = invite(acme.owner, email="", role="admin")
    with pytest.raises(AlreadyMember):
        all_tenants_accept_invitation(acme.users["bob"], text)
    assert all_tenants_accept_invitation(somebody("carol"), text).slug == "acme"


def test_with_a_mail_server_the_link_is_mailed_and_shown_to_nobody(acme, monkeypatch):
    monkeypatch.setattr(environment(), "smtp_url", "smtp://mail.example")
    with recorded() as seen:
        row, text = invite(acme.owner, email="carol@elsewhere.example", role="member")
    assert (row.is_mailed, text, seen.job_types) == (True, None, ["letter.send"])
    letter = OutgoingLetter.objects.using("operator").get()
    to, subject, body = all_tenants_find_letter(letter.id)
    assert (to, subject) == ("carol@elsewhere.example", "Join Acme on Slipway")
    link = next(line for line in body.splitlines() if "/join/" in line)
    assert link.rpartition("/")[2].encode() not in bytes(letter.sealed)
    assert all_tenants_find_offer(link.rpartition("/")[2]).organisation.slug == "acme"


def test_members_invite_nobody_and_admins_make_no_owners(acme):
    with pytest.raises(RoleMissing):
        invite(acme.people["bob"], email="", role="viewer")
    change_role(acme.owner, acme.users["bob"].pk, "admin")
    admin = all_tenants_actor_of(acme.users["bob"], acme.organisation.id)
    with pytest.raises(Invalid):
        invite(admin, email="", role="owner")
    _, text = invite(admin, email="", role="admin")
    change_role(acme.owner, acme.users["bob"].pk, "member")
    with pytest.raises(InvitationMissing):
        all_tenants_find_offer(text)


def test_an_admin_removes_no_owner_and_anybody_leaves_but_the_last_owner(acme):
    bob = acme.users["bob"]
    change_role(acme.owner, bob.pk, "admin")
    with pytest.raises(RoleMissing):
        remove_member(all_tenants_actor_of(bob, acme.organisation.id), acme.users["alice"].pk)
    with pytest.raises(LastOwner):
        leave_organisation(acme.owner)
    change_role(acme.owner, bob.pk, "owner")
    leave_organisation(acme.owner)
    with pytest.raises(Missing):
        all_tenants_actor_of(acme.users["alice"], acme.organisation.id)
    assert actions_of(acme)[0] == "member.left"


def test_a_viewer_leaves_too(acme):
    vera = somebody("vera")
    add_member(acme.owner, vera, "viewer")
    leave_organisation(all_tenants_actor_of(vera, acme.organisation.id))
    assert not Membership.objects.using("operator").filter(user=vera).exists()


def test_names_are_checked_and_organisations_made(acme, monkeypatch):
    taken = all_tenants_check_name("acme")
    assert (taken.is_available, taken.reason, taken.suggestion) == (False, "taken", "acme-2")
    for bad in ("a", "Acme", "-acme", "a--b", "x" * 41, "", "ac me"):
        assert all_tenants_check_name(bad).reason == "malformed", bad
    assert all_tenants_check_name("admin").reason == "reserved"
    alice = acme.users["alice"]
    made = all_tenants_open_organisation(alice, slug="initech", name=" Initech ")
    assert (made.name, all_tenants_actor_of(alice, made.id).role) == ("Initech", "owner")
    with pytest.raises(NameTaken):
        all_tenants_open_organisation(alice, slug="initech", name="Again")
    with pytest.raises(NameTaken):
        rename_organisation(acme.owner, {"slug": "initech"})
    assert rename_organisation(acme.owner, {"slug": "acme-inc"}).slug == "acme-inc"
    monkeypatch.setattr(environment(), "sign_up", "invitation")
    with pytest.raises(NotPermitted):
        all_tenants_open_organisation(alice, slug="other", name="Other")


def test_a_refused_change_leaves_no_record(acme):
    before = actions_of(acme)
    with pytest.raises(RuntimeError), tenant_transaction(acme.organisation.id):
        change_role(acme.owner, acme.users["bob"].pk, "admin")
        raise RuntimeError("the caller failed")
    assert actions_of(acme) == before


@pytest.mark.parametrize("alias", ["default", "operator"])
@pytest.mark.parametrize("statement", ["UPDATE audit_record SET action = 'x'", "DELETE FROM audit_record",
                                       "TRUNCATE audit_record"])  # fmt: skip
def test_no_role_of_a_service_changes_the_log(acme, alias, statement):
    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic(using=alias):
        connections[alias].cursor().execute(statement)


def test_the_log_is_kept_for_ninety_days_whatever_is_asked_for(acme):
    assert actions_of(acme)
    assert all_tenants_forget_audit(now() + timedelta(days=1)) == 0
    assert all_tenants_forget_audit_of(acme.organisation.id) == 0
    Organisation.objects.using("operator").filter(id=acme.organisation.id).update(deletion_due_at=now())
    assert all_tenants_forget_audit_of(acme.organisation.id) > 0
    assert actions_of(acme) == []


def test_what_opens_something_is_on_record_when_it_comes_and_changes(acme):
    kept = keep_one_of_each(acme)
    update_secret(acme.owner, kept["secret"].id, {"agent_ids": [acme.agent.id]})
    put_agent_person(acme.owner, acme.agent.id, acme.users["bob"].pk, "admin")
    remove_agent_person(acme.owner, acme.agent.id, acme.users["bob"].pk)
    assert actions_of(acme)[:7] == [
        "agent_role.removed",
        "agent_role.given",
        "secret.changed",
        "model_key.created",
        "mcp_server.registered",
        "integration.connected",
        "secret.created",
    ]
    changed = AuditRecord.objects.using("operator").get(action="secret.changed")
    assert changed.details == {"changed": ["agent_ids"], "agents": [str(acme.agent.id)]}


def test_the_log_of_one_organisation_is_not_anothers(acme):
    other = make_tenant("initech", ["ivan"])
    with tenant_transaction(other.organisation.id):
        assert set(AuditRecord.objects.values_list("org_id", flat=True)) == {other.organisation.id}
        assert AuditRecord.objects.filter(action=AuditAction.TOKEN_CREATED).count() == 1
