"""The TypeScript client: its types made from the running API's description, compiled, and used over cut connections."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from conftest import Tenant
from services.kit.environment import environment
from slipway_client import Slipway
from tests.clients.conftest import Say
from tests.clients.cutting import cut_after
from tests.clients.test_cli import the_task
from tests.fakes.npm_packages import install

SOURCE = Path(__file__).parents[2] / "clients" / "typescript"


@pytest.fixture
def node() -> Path:
    """Give a Node that is new enough: that of the conformance suite, as the machine's may be old."""
    return install("conformance").node


@pytest.fixture
def built(tmp_path: Path, api_url: str, node: Path) -> Path:
    """Build the client for the served API, and return its module."""
    for name in ("package.json", "tsconfig.json"):
        shutil.copy(SOURCE / name, tmp_path)
    shutil.copytree(SOURCE / "src", tmp_path / "src")
    (tmp_path / "node_modules").symlink_to(install("typescript", SOURCE).modules)
    (tmp_path / "openapi.json").write_text(httpx.get(f"{api_url}/v1/openapi.json", timeout=60).text)
    modules = tmp_path / "node_modules"
    for script in (
        [modules / "openapi-typescript" / "bin" / "cli.js", "openapi.json", "-o", "src/api.d.ts"],
        [modules / "typescript" / "bin" / "tsc"],
    ):
        done = subprocess.run(
            [node, *script], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return tmp_path / "dist" / "index.js"


def test_it_is_built_from_the_description_and_follows_a_task_over_cut_connections(
    built: Path, node: Path, slipway: Slipway, acme: Tenant, agent_says: Say, monkeypatch: pytest.MonkeyPatch
):
    port = urlsplit(slipway.transport.realtime_url()).port
    assert port is not None
    with cut_after(1, port) as proxy:
        monkeypatch.setattr(environment(), "realtime_public_url", f"ws://127.0.0.1:{proxy.port}")
        process = subprocess.Popen(
            [node, Path(__file__).with_name("typescript_run.mjs")],
            env={"CLIENT": str(built), "SLIPWAY_URL": slipway.transport.url, "SLIPWAY_TOKEN": acme.token},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            try:
                task = the_task(slipway)
                agent_says(task, "one", "two", ends="succeeded")
                out, err = process.communicate(timeout=90)
            finally:
                process.kill()
    assert process.returncode == 0, err
    said = json.loads(out)
    assert said["refused"] == {"status": 404, "code": "task_not_found"}
    assert (said["task"]["id"], said["task"]["result"]["text"]) == (task["id"], "two")
    stored = slipway.workspaces.get_events(task["workspace_id"])["items"]
    own = [[event["seq"], event["type"]] for event in stored if event["task_id"] == task["id"]]
    assert said["seen"] == own[: len(said["seen"])]
    assert said["seen"][-1][1] == "task.finished"
    assert proxy.connections >= len(said["seen"])
