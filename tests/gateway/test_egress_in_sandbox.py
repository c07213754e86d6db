"""The way outside from a real container: the real runner, curl, a CLI with a model, and a person who allows."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import Tenant
from services.adapters.sandbox.tests.conftest import AgentImages, Host, host_with, open_folder
from services.adapters.sandbox.tests.conftest import agent_images as agent_images
from services.domain.agents.actions import update_agent
from services.domain.approvals.actions import decide_approval
from services.domain.approvals.models import Approval
from services.domain.egress.policy import all_tenants_find_policy
from services.domain.egress.refusals import record_refusals
from services.domain.events.models import Event
from services.domain.ports.sandbox import SandboxLimits
from services.domain.tasks.runner import issue_turn
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.actions import delete_secret
from services.domain.vault.models import CredentialAccess
from services.mcp_gateway.egress.desk import Limits
from services.mcp_gateway.threads import run_in_thread
from tests.domain.cast import keep, running
from tests.fakes.anthropic_server import AnthropicServer
from tests.gateway.egress import PUBLIC, WAIT_S, World, origin, world

pytestmark = pytest.mark.engine

TOKEN = "token-of-the-model"
LLM = {"kind": "anthropic", "path": "/llm/anthropic", "token": TOKEN}
CURL = "curl -sS --max-time 20 -w '\\n%{http_code}'"
HIDDEN = "the-real-value/of+acme"
NAMES = {"good.test": [PUBLIC], "asked.test": [PUBLIC], "inside.test": ["127.0.0.1"]}
RESOLVE = "python3 -c \"import socket; socket.getaddrinfo('secret.good.test', 443)\""


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A folder that the agent's user may pass through."""
    folder = open_folder("slipway-run-")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def docker_host(agent_images: AgentImages, run_dir: Path) -> AsyncIterator[Host]:
    async with host_with("docker", agent_images, run_dir) as host:
        yield host


async def ends(gateway: Any, script: str, **fields: Any) -> list[str]:
    """Run a script, whether it succeeds or not; return the lines that it printed."""
    done = await gateway.run_turn("shell", f"({script}) 2>&1 || true", **fields)
    return str(done["text"]).splitlines()


async def test_an_allowed_host_is_reached_another_one_asked_for_and_nothing_else_goes_out(
    docker_host: Host, acme: Tenant
) -> None:
    sandbox = await docker_host.make()
    task, runner = await run_in_thread(running, acme)
    made = world(
        folder=sandbox.spec.socket_dir,
        sandbox_id=runner.sandbox_id,
        find_policy=all_tenants_find_policy,
        record=record_refusals,
        names=NAMES,
    )
    async with made as outside, origin() as host:
        rules = [{"host": name, "port": host.port} for name in ("good.test", "inside.test")]
        await run_in_thread(update_agent, acme.owner, acme.agent.id, {"egress": rules})
        await sandbox.start()
        gateway = sandbox.gateway
        good, asked = f"http://good.test:{host.port}/", f"http://asked.test:{host.port}/"
        assert await ends(gateway, f"{CURL} {good}") == ["hello from outside", "200"]
        answer, *_, status = await ends(gateway, f"{CURL} {asked}")
        assert (status, json.loads(answer)["error"]["reason"]) == ("403", "host_not_allowed")
        assert (await ends(gateway, f"{CURL} http://inside.test:{host.port}/"))[-1] == "403"
        assert (await ends(gateway, f"{CURL} --noproxy '*' {good}"))[-1] == "000"
        assert "gaierror" in (await ends(gateway, RESOLVE))[-1]
        assert outside.asked == ["good.test", "inside.test"]
        assert len(host.requests) == 1

        approval = await run_in_thread(_only_approval, task)
        assert await run_in_thread(_told_of, task) == [
            ("asked.test", "host_not_allowed", str(approval.id)),
            ("inside.test", "address_not_public", None),
        ]
        await run_in_thread(decide_approval, acme.owner, approval.id, "allow")
        assert await ends(gateway, f"{CURL} {asked}") == ["hello from outside", "200"]
        await run_in_thread(runner.says, "turn.done", status="succeeded", text="done")
        async with asyncio.timeout(WAIT_S):  # what was read of the rules may be a second old
            while (await ends(gateway, f"{CURL} {good}"))[-1] != "403":
                pass


def _only_approval(task: Any) -> Approval:
    with tenant_transaction(task.org_id):
        return Approval.objects.get(workspace_id=task.workspace_id, subject__host="asked.test")


def _told_of(task: Any) -> list[tuple[str, str, str | None]]:
    with tenant_transaction(task.org_id):
        events = Event.objects.filter(task_id=task.id, type="egress.refused").order_by("seq")
        return [(e.data["host"], e.data["reason"], e.data.get("approval_id")) for e in events]


async def test_tls_that_is_ended_at_the_proxy_is_trusted_inside(docker_host: Host) -> None:
    sandbox = await docker_host.make()
    async with (
        world(folder=sandbox.spec.socket_dir, names=NAMES) as outside,
        origin(outside.public_authority.context_for("good.test")) as host,
    ):
        url = f"https://good.test:{host.port}/"
        outside.allow({"host": "good.test", "port": host.port, "methods": ["GET"]})
        await sandbox.start()
        trust = {"egress": {"ca_pem": (await outside.proxy.authority.open()).pem}}
        script = f"import urllib.request; print(urllib.request.urlopen('{url}').status)"
        assert await ends(sandbox.gateway, f'python3 -c "{script}"', options=trust) == ["200"]
        assert (await ends(sandbox.gateway, f"{CURL} {url}", options=trust))[-1] == "200"
        assert (await ends(sandbox.gateway, f"{CURL} -d x=1 {url}", options=trust))[-1] == "403"
        assert (await ends(sandbox.gateway, f"{CURL} {url}"))[-1] == "000"  # not told to trust it
    assert outside.reasons == ["method_not_allowed"]


async def test_a_brokered_secret_is_used_by_an_agent_that_never_sees_it(
    docker_host: Host, acme: Tenant
) -> None:
    sandbox = await docker_host.make()
    task, runner = await run_in_thread(running, acme)

    def repeat(head: bytes) -> list[bytes]:
        return [head[place : place + 5] for place in range(0, len(head), 5)]

    made = world(
        folder=sandbox.spec.socket_dir,
        sandbox_id=runner.sandbox_id,
        find_policy=all_tenants_find_policy,
        record=record_refusals,
        names=NAMES,
        limits=Limits(hold_s=0.2, look_s=0.05),
    )
    async with (
        made as outside,
        origin(outside.public_authority.context_for("good.test"), pieces=repeat) as host,
    ):
        binding = {"host": "good.test", "port": host.port, "path": "/repos/acme"}
        secret = await run_in_thread(
            partial(keep, acme.owner, value=HIDDEN, mode="brokered", bindings=[binding], approval="first_use")
        )
        rules = [{"host": name, "port": host.port} for name in ("good.test", "asked.test")]
        await run_in_thread(update_agent, acme.owner, acme.agent.id, {"egress": rules})
        turn = await run_in_thread(issue_turn, task.org_id, task.id, runner.sandbox_id)
        assert turn is not None
        trust = {"egress": {"ca_pem": (await outside.proxy.authority.open()).pem}}
        await sandbox.start()
        given = {"env": turn["env"], "options": trust}
        bearer = f'{CURL} -H "Authorization: Bearer $TOKEN" https://good.test:{host.port}'

        # It is nowhere inside: not in the environment of any process, not in a file, not in the runner.
        everywhere = "env; cat /proc/*/environ /proc/*/cmdline; grep -rs swp_ /tmp /workspace /run"
        found = "\n".join(await ends(sandbox.gateway, f"({everywhere}) | tr '\\0' '\\n'", **given))
        assert turn["env"]["TOKEN"] in found
        assert HIDDEN not in found

        answer = await ends(sandbox.gateway, f"{bearer}/repos/acme/x", **given)
        assert json.loads(answer[0])["error"]["reason"] == "credential_approval_pending"
        approval = await run_in_thread(_credential_approval, task)
        await run_in_thread(decide_approval, acme.owner, approval.id, "allow")
        answer = await ends(sandbox.gateway, f"{bearer}/repos/acme/x", **given)
        assert answer[-1] == "200"
        assert HIDDEN.encode() in host.requests[-1]
        assert "*" * len(HIDDEN) in "\n".join(answer)
        assert HIDDEN not in "\n".join(answer)

        for path in ("/repos/acme/%2e%2e/x", "/repos/acme/../../user", "/user"):
            refused = await ends(
                sandbox.gateway, f"{bearer.replace('curl', 'curl --path-as-is')}{path}", **given
            )
            assert (json.loads(refused[0])["error"]["reason"], refused[-1]) == (
                "credential_path_refused",
                "403",
            )
        # Another host sees the worthless text, if anything: its certificate is not one for this name.
        assert (await ends(sandbox.gateway, bearer.replace("good.test", "asked.test"), **given))[-1] == "000"
        assert len(host.requests) == 1
        await run_in_thread(delete_secret, acme.owner, secret.id)
        assert await ends(sandbox.gateway, f"{bearer}/repos/acme/x", **given) != answer
        assert all(HIDDEN.encode() not in request for request in host.requests[1:])
        assert await run_in_thread(_uses_of, task) == [("GET", "/repos/acme/x", 1)]


def _credential_approval(task: Any) -> Approval:
    with tenant_transaction(task.org_id):
        return Approval.objects.get(workspace_id=task.workspace_id, kind="credential")


def _uses_of(task: Any) -> list[tuple[str, str, int]]:
    with tenant_transaction(task.org_id):
        rows = CredentialAccess.objects.filter(task_id=task.id, way="egress")
        return [(row.method, row.path, row.count) for row in rows]


async def test_a_model_is_not_talked_to_through_the_proxy(docker_host: Host) -> None:
    model = AnthropicServer([{"user": "", "text": "Hello."}], key=TOKEN)
    sandbox = await docker_host.make(
        limits=SandboxLimits(memory_bytes=1024**3, pids=256, cpus=2.0),
        image=docker_host.image_claude,
        mounts={"/llm/anthropic": model.app},
    )
    async with world(folder=sandbox.spec.socket_dir, limits=Limits(head_s=1.0)) as outside:
        await sandbox.start()
        done = await sandbox.gateway.run_turn("claude", "say hello", llm=LLM)
        assert (done["status"], done["text"]) == ("succeeded", "Hello.")
        assert model.message_calls()
        assert not _went_through(outside, "gateway", "127.0.0.1", "localhost")


def _went_through(outside: World, *hosts: str) -> list[str]:
    return [refusal.host for refusals in outside.recorded for refusal in refusals if refusal.host in hosts]
