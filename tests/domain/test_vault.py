"""Sealed values: bound to their row, readable only with the key, movable to a newer one."""

from __future__ import annotations

import os

import pytest
from pydantic import SecretStr

from services.domain.chats.actions import create_link, read_link_config
from services.domain.chats.models import Link
from services.domain.errors import AgentMissing, Invalid, NameTaken
from services.domain.playbooks.actions import PlaybookFields, create_playbook
from services.domain.playbooks.models import Playbook
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault import keyring as keyring_module
from services.domain.vault import rotation
from services.domain.vault.actions import delete_secret, put_secret_value
from services.domain.vault.keyring import keyring, open_text
from services.domain.vault.models import SecretVersion
from services.kit.vault import Keyring, VaultError
from tests.domain.cast import granted, keep


def test_a_sealed_value_opens_only_for_its_row_and_key():
    ring = Keyring({"a": os.urandom(32)})
    sealed = ring.seal(b"secret", context=b"row1")
    assert ring.open(sealed, context=b"row1") == b"secret"
    assert b"secret" not in sealed.blob
    with pytest.raises(VaultError):
        ring.open(sealed, context=b"row2")
    with pytest.raises(VaultError):
        Keyring({"a": os.urandom(32)}).open(sealed, context=b"row1")
    with pytest.raises(VaultError):
        Keyring({"b": os.urandom(32)}).open(sealed, context=b"row1")


def test_a_rotated_key_still_opens_old_values_and_reseals_them():
    old, new = os.urandom(32), os.urandom(32)
    sealed = Keyring({"old": old}).seal(b"secret", context=b"row")
    ring = Keyring({"new": new, "old": old})
    fresh = ring.reseal(sealed, context=b"row")
    assert fresh.key_id == "new"
    assert Keyring({"new": new}).open(fresh, context=b"row") == b"secret"
    assert ring.reseal(fresh, context=b"row") is fresh
    # The data key is wrapped anew; the value's bytes are the same ones.
    head = 12 + 32 + 16
    assert (fresh.blob[head:], fresh.blob[:head] != sealed.blob[:head]) == (sealed.blob[head:], True)
    with pytest.raises(VaultError):
        ring.reseal(sealed, context=b"another row")


def test_a_secret_reaches_the_agents_it_is_granted_to(acme):
    keep(acme.owner, name="FOR_ALL", value="one")
    keep(acme.owner, name="FOR_ONE", value="two", agent_ids=[acme.agent.id])
    keep(acme.owner, name="FOR_NONE", value="three", agent_ids=[])
    assert granted(acme) == {"FOR_ALL": "one", "FOR_ONE": "two"}
    with tenant_transaction(acme.organisation.id):
        assert all(b"one" not in bytes(row.sealed) for row in SecretVersion.objects.all())


@pytest.mark.parametrize("name", ["lower", "1X", "PATH", "LD_PRELOAD", "ANTHROPIC_API_KEY", "A B", ""])
def test_a_name_that_would_harm_the_provider_is_refused(acme, name):
    with pytest.raises(Invalid):
        keep(acme.owner, name=name, value="x")


def test_a_taken_name_another_tenants_agent_and_a_missing_secret_are_refused(acme, globex):
    secret = keep(acme.owner, name="KEY", value="x")
    with pytest.raises(NameTaken):
        keep(acme.owner, name="KEY", value="y")
    with pytest.raises(AgentMissing):
        keep(acme.owner, name="OTHER", value="y", agent_ids=[globex.agent.id])
    put_secret_value(acme.owner, secret.id, SecretStr("new"))
    assert granted(acme)["KEY"] == "new"
    delete_secret(acme.owner, secret.id)


def test_everything_sealed_moves_to_a_new_key(acme, monkeypatch):
    keep(acme.owner, name="KEY", value="v1")
    link = create_link(acme.owner, kind="telegram", name="Bot", config={"bot_token": "1:x"})
    playbook, hook_secret = create_playbook(
        acme.owner, PlaybookFields(agent_id=acme.agent.id, name="P", prompt="true")
    )
    old = keyring()
    ring = Keyring({"new": os.urandom(32), **old._keys})
    for module in (keyring_module, rotation):
        monkeypatch.setattr(module, "keyring", lambda: ring)
    assert rotation.all_tenants_reseal() == 3
    assert rotation.all_tenants_reseal() == 0
    assert granted(acme) == {"KEY": "v1"}
    with tenant_transaction(acme.organisation.id):
        assert read_link_config(Link.objects.get(id=link.id)) == {"bot_token": "1:x"}
        row = Playbook.objects.get(id=playbook.id)
        assert (row.hook_key_id, Link.objects.get(id=link.id).key_id) == ("new", "new")
        assert open_text(row.sealed_hook_secret, row.hook_key_id, row.id) == hook_secret
