"""The deployment files agree with each other and with the front door's commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from deploy.local.envfile import parse
from deploy.local.layout import REPOSITORY
from deploy.local.services import PROVISIONING_ONLY, SERVICES
from deploy.local.settings_env import ROLES

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
OURS = {"api", "realtime", "gateway", "worker", "relay", "beat", "listen"}


def _modules(service: str) -> list[str]:
    return [word for word in COMPOSE["services"][service]["command"] if word.startswith("services.")]


def test_compose_runs_the_same_processes_as_the_front_door() -> None:
    assert {service.name for service in SERVICES} == OURS
    assert {service.name: [service.module] for service in SERVICES} == {name: _modules(name) for name in OURS}


def test_only_the_worker_has_the_engine_s_socket() -> None:
    holders = {
        name
        for name, service in COMPOSE["services"].items()
        if any("docker.sock" in volume for volume in service.get("volumes", []))
    }
    assert holders == {"worker"}


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_every_root_is_read_only_and_no_privilege_can_be_gained(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_every_server_and_web_process_has_a_health_check() -> None:
    checked = {name for name, service in COMPOSE["services"].items() if "healthcheck" in service}
    assert set(COMPOSE["services"]) - checked == {"provision", "beat"}


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_servers_have_no_way_out() -> None:
    assert COMPOSE["networks"]["servers"]["internal"] is True
    for name in ("postgres", "rabbitmq", "redis"):
        assert COMPOSE["services"][name]["networks"] == ["servers"]


def test_only_provisioning_knows_the_roles_that_own_tables() -> None:
    folder = REPOSITORY / "deploy" / "env"
    services = parse((folder / "services.env.example").read_text())
    provision = parse((folder / "provision.env.example").read_text())
    assert set(provision) == set(PROVISIONING_ONLY)
    assert not set(services) & set(PROVISIONING_ONLY)
    urls = [key for key in services | provision if key.endswith("DATABASE_URL")]
    users = {urlsplit((services | provision)[key]).username for key in urls}
    assert len(users) == len(ROLES)
    users = [
        name for name, service in COMPOSE["services"].items() if "provision.env" in str(service["env_file"])
    ]
    assert users == ["provision"]


@pytest.mark.parametrize("target", ["demo", "up", "down", "test", "bench"])
def test_the_makefile_has_every_target_of_the_contract(target: str) -> None:
    assert re.search(rf"^{target}: ## \S", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("script", ["deploy/bootstrap.sh", "deploy/check.sh", ".ci/run"])
def test_scripts_can_be_run_and_stop_at_the_first_error(script: str) -> None:
    path: Path = REPOSITORY / script
    assert path.stat().st_mode & 0o111
    assert "set -euo pipefail" in path.read_text()
