"""`manage.py seed`: makes what is missing, prints the same each time, and everything that it prints works."""

from __future__ import annotations

import json
import stat
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client

from services.domain.identity.models import User
from services.kit.environment import environment
from tests.api.client import Api


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(environment(), "data_dir", tmp_path / "data")


def seed() -> dict:
    out = StringIO()
    call_command("seed", stdout=out)
    seeded: dict = json.loads(out.getvalue())
    return seeded


def test_seeding_again_prints_the_same(database):
    first = seed()
    assert set(first) == {"org", "user", "token", "other_org", "agents"}
    assert seed() == first
    assert User.objects.count() == 2


def test_what_is_printed_works(database):
    seeded = seed()
    alice, mallory = Api(seeded["token"]), Api(seeded["other_org"]["token"])
    assert alice.get("/v1/me").body["organisation"]["slug"] == seeded["org"] == "acme"
    assert mallory.get("/v1/me").body["organisation"]["slug"] == seeded["other_org"]["org"] == "globex"
    assert alice.get(f"/v1/agents/{seeded['agents']['claude']}").body["provider"] == "claude"
    assert alice.post("/v1/tasks", {"agent_id": seeded["agents"]["shell"], "prompt": "true"}).status == 202
    client = Client()
    assert client.login(email=seeded["user"]["email"], password=seeded["user"]["password"])


def test_credentials_are_for_this_user_of_the_machine_only(database):
    seed()
    mode = (environment().data_dir / "seed.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_what_no_longer_works_is_made_anew(database):
    first = seed()
    alice = Api(first["token"])
    alice.delete(f"/v1/agents/{first['agents']['shell']}")
    (token,) = alice.get("/v1/tokens").body["items"]
    assert alice.delete(f"/v1/tokens/{token['id']}").status == 204
    user = User.objects.get(email=first["user"]["email"])
    user.set_password("forgotten")
    user.save()
    second = seed()
    assert second["token"] != first["token"]
    assert second["agents"]["shell"] != first["agents"]["shell"]
    assert second["user"] == first["user"]
    assert Api(second["token"]).get("/v1/me").status == 200
    assert Client().login(email=second["user"]["email"], password=second["user"]["password"])


def test_a_lost_folder_gives_new_credentials(database):
    first = seed()
    (environment().data_dir / "seed.json").unlink()
    second = seed()
    assert second["user"]["password"] != first["user"]["password"]
    assert Client().login(email=second["user"]["email"], password=second["user"]["password"])
    assert second["agents"] == first["agents"]


def test_the_operator_of_a_production_installation_is_not_made_here(database, monkeypatch):
    monkeypatch.setattr(environment(), "env", "production")
    seeded = seed()
    assert not User.objects.get(email=seeded["user"]["email"]).is_staff
