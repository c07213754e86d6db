"""Connected accounts: who may, what a change costs, what is told, and who may not see them."""

from __future__ import annotations

import json
import uuid

import pytest

from conftest import recorded
from services.adapters.accounts.registry import list_kinds
from services.domain.actors import system_actor
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.agents.limits import exceeding
from services.domain.errors import (
    AccountAway,
    AccountUnauthorised,
    AgentMissing,
    IntegrationMissing,
    NameTaken,
    NotPermitted,
    RoleMissing,
)
from services.domain.integrations.actions import (
    IntegrationChanges,
    NewIntegration,
    connect_integration,
    record_failure,
    record_found,
    remove_integration,
    update_integration,
)
from services.domain.integrations.credentials import ACCOUNT_GRANTS
from services.domain.integrations.models import Integration
from services.domain.integrations.names import ACCOUNT_SERVERS
from services.domain.integrations.queries import get_integration, list_integrations
from services.domain.oauth_grants.keeping import open_sealed, seal_into
from services.domain.ports.upstreams import GrantedTokens, OAuthClient, OAuthGrant, OAuthServer, RefreshClaim
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.names import is_reserved
from services.domain.vault import keyring as keyring_module
from services.domain.vault import rotation
from services.domain.vault.keyring import keyring
from services.kit.vault import Keyring
from services.mcp_gateway.http import TOOL_SERVERS


def new(**fields) -> NewIntegration:
    return NewIntegration(
        **{"kind": "gmail", "name": "work", "credentials": {"client_secret": "hush"}, **fields}
    )


def fresh(row: Integration) -> Integration:
    with tenant_transaction(row.org_id):
        return Integration.objects.get(id=row.id)


def change(actor, row: Integration, binding: tuple[str, ...] = (), **changes) -> Integration:
    return update_integration(actor, row.id, IntegrationChanges(**changes), binding)


def test_every_server_of_an_account_has_its_kind_and_its_name_reserved():
    kinds = {kind.manifest.kind for kind in list_kinds()}
    served = {server.name for server in TOOL_SERVERS}
    assert set(ACCOUNT_SERVERS) <= kinds & served
    assert kinds <= set(ACCOUNT_SERVERS)
    assert all(is_reserved(name) for name in ACCOUNT_SERVERS)


@pytest.mark.parametrize("kind", list_kinds(), ids=lambda kind: kind.manifest.kind)
def test_every_kind_is_closed_and_says_what_it_is(kind):
    assert kind.manifest.label
    assert len(kind.manifest.help) > 40
    assert kind.manifest.source.startswith("https://")
    for model in (kind.settings_model, kind.credentials_model):
        assert model.model_json_schema()["additionalProperties"] is False
        assert model.model_config["hide_input_in_errors"] is True
    assert kind.settings_model.binding() <= set(kind.settings_model.model_fields)


def test_connecting_changing_and_removing_are_told_to_those_who_may_see_it(acme):
    with recorded() as seen:
        row = connect_integration(acme.owner, new())
        change(acme.owner, row, is_enabled=False)
        remove_integration(acme.owner, row.id)
        shared = connect_integration(acme.owner, new(is_personal=False))
    mine = [acme.owner.user_id]
    assert [(event.readers, event.data["change"], event.data["is_enabled"]) for event in seen.changes] == [
        (mine, "created", True),
        (mine, "updated", False),
        (mine, "deleted", False),
        (None, "created", True),
    ]
    assert seen.changes[-1].data["integration_id"] == str(shared.id)
    assert "hush" not in json.dumps([event.data for event in seen.changes])


def test_what_opens_an_account_is_sealed_and_moves_to_a_newer_key(acme, monkeypatch):
    row = connect_integration(acme.owner, new())
    assert b"hush" not in bytes(fresh(row).sealed)
    ring = Keyring({"new": b"n" * 32, **keyring()._keys})
    for module in (keyring_module, rotation):
        monkeypatch.setattr(module, "keyring", lambda: ring)
    assert rotation.all_tenants_reseal() == 1
    assert open_sealed(fresh(row)) == {"credentials": {"client_secret": "hush"}}


def test_another_place_to_send_the_credentials_to_loses_them(acme):
    row = connect_integration(acme.owner, new(settings={"host": "a.example", "folder": "x"}))
    kept = change(acme.owner, row, ("host",), settings={"host": "a.example", "folder": "y"})
    assert open_sealed(kept)
    lost = change(acme.owner, row, ("host",), settings={"host": "b.example", "folder": "y"})
    assert (open_sealed(lost), lost.status) == ({}, "unchecked")
    both = change(
        acme.owner, row, ("host",), settings={"host": "c.example"}, credentials={"client_secret": "other"}
    )
    assert open_sealed(both) == {"credentials": {"client_secret": "other"}}


def test_members_connect_for_themselves_and_admins_for_all(acme):
    bob = acme.people["bob"]
    with pytest.raises(RoleMissing):
        connect_integration(bob, new(is_personal=False))
    with pytest.raises(NotPermitted):
        connect_integration(system_actor(acme.organisation.id), new())
    own = connect_integration(bob, new())
    with pytest.raises(NameTaken):
        connect_integration(bob, new())
    shared = connect_integration(acme.owner, new(is_personal=False))
    with pytest.raises(RoleMissing):
        change(bob, shared, name="mine")
    # An admin may take a member's account away, and see that it is there.
    change(acme.owner, own, is_enabled=False)
    assert fresh(own).is_enabled is False


def test_another_tenant_and_other_members_find_nothing(acme, globex):
    row = connect_integration(acme.owner, new())
    for actor in (globex.owner, acme.people["bob"]):
        for attempt in (
            lambda actor=actor: change(actor, row, name="stolen"),
            lambda actor=actor: remove_integration(actor, row.id),
        ):
            with pytest.raises(IntegrationMissing):
                attempt()
        with tenant_transaction(actor.org_id):
            assert not list_integrations(actor).exists()
            with pytest.raises(IntegrationMissing):
                get_integration(actor, row.id)


def test_agents_that_one_does_not_see_cannot_be_granted(acme, globex):
    bob = acme.people["bob"]
    private = create_agent(acme.owner, AgentFields(name="Hers", is_shared=False))
    for agent_id in (globex.agent.id, private.id, uuid.uuid4()):
        with pytest.raises(AgentMissing):
            connect_integration(bob, new(agent_ids=[agent_id]))
    row = connect_integration(bob, new(agent_ids=[acme.agent.id]))
    with pytest.raises(AgentMissing):
        change(bob, row, agent_ids=[acme.agent.id, private.id])
    assert connect_integration(acme.owner, new(agent_ids=[private.id])).agent_ids == [private.id]


def test_an_agent_with_an_account_by_name_exceeds_a_maker_without(acme):
    made = create_agent(acme.owner, AgentFields(name="Made"))
    connect_integration(acme.owner, new(agent_ids=[made.id]))
    connect_integration(acme.owner, new(name="all"))
    with tenant_transaction(acme.organisation.id):
        assert exceeding(made, acme.agent) == ["accounts"]
        assert exceeding(acme.agent, made) == []


def test_a_state_is_told_when_it_changes_and_only_for_the_version_that_was_tried(acme):
    row = connect_integration(acme.owner, new())
    with recorded() as seen:
        for _ in range(3):
            record_failure(row.org_id, row.id, row.updated_at, AccountAway("It does not answer."))
        record_found(row.org_id, row.id, row.updated_at, "alice@example.com")
        for _ in range(2):
            record_failure(row.org_id, row.id, row.updated_at, AccountUnauthorised("No."))
        changed = change(acme.owner, row, credentials={"client_secret": "new"})
        # What was tried with the old secret says nothing of the new one.
        record_failure(row.org_id, row.id, row.updated_at, AccountUnauthorised("No."))
    states = [event.data["status"] for event in seen.changes]
    assert states == ["broken", "ok", "unauthorised", "unchecked"]
    assert seen.event_types == ["notification.created"]
    assert fresh(changed).status == "unchecked"


def granted(acme, expires_in: float) -> Integration:
    row = connect_integration(acme.owner, new())
    grant = OAuthGrant(
        server=OAuthServer(
            issuer="https://a.example",
            authorization_endpoint="https://a.example/authorize",
            token_endpoint="https://a.example/token",
            resource="",
        ),
        client=OAuthClient(client_id="us"),
        access_token="at-1",
        refresh_token="rt-1",
        expires_at=expires_in,
    )
    with tenant_transaction(row.org_id):
        seal_into(row, open_sealed(row) | {"grant": grant.model_dump(mode="json")})
        row.save()
    return row


def test_one_caller_refreshes_and_the_others_wait_for_what_it_gets(acme):
    row = granted(acme, expires_in=1.0)
    where = row.org_id, row.id
    claim = ACCOUNT_GRANTS.claim(*where, None)
    assert isinstance(claim, RefreshClaim)
    assert ACCOUNT_GRANTS.claim(*where, None) is None
    ACCOUNT_GRANTS.keep(*where, uuid.uuid4(), GrantedTokens(access_token="of-a-stranger"))
    assert ACCOUNT_GRANTS.claim(*where, None) is None
    ACCOUNT_GRANTS.keep(
        *where, claim.lease, GrantedTokens(access_token="at-2", refresh_token="rt-2", expires_in=3600)
    )
    assert ACCOUNT_GRANTS.claim(*where, "at-1") == "at-2"
    again = ACCOUNT_GRANTS.claim(*where, "at-2")
    assert isinstance(again, RefreshClaim)
    assert again.grant.refresh_token == "rt-2"
    ACCOUNT_GRANTS.give_back(*where, again.lease)
    assert isinstance(ACCOUNT_GRANTS.claim(*where, "at-2"), RefreshClaim)


def test_a_refresh_that_was_under_way_does_not_outlive_another_credential(acme):
    row = granted(acme, expires_in=1.0)
    claim = ACCOUNT_GRANTS.claim(row.org_id, row.id, None)
    assert isinstance(claim, RefreshClaim)
    change(acme.owner, row, credentials={"client_secret": "other"})
    ACCOUNT_GRANTS.keep(row.org_id, row.id, claim.lease, GrantedTokens(access_token="late"))
    ACCOUNT_GRANTS.lose(row.org_id, row.id, claim.lease)
    assert open_sealed(fresh(row)) == {"credentials": {"client_secret": "other"}}
    with pytest.raises(AccountUnauthorised, match="A person must connect it again"):
        ACCOUNT_GRANTS.claim(row.org_id, row.id, None)
