"""The `slipway` command, as a process against a served API."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import uuid
from importlib import import_module
from pathlib import Path

from tests.fakes.chat_places import drain
from tests.fakes.served_api import served_api

ROOT = Path(__file__).parents[2]


def slipway(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_it_says_why_a_message_was_answered_in_words_or_as_json(acme, world):
    drain("message.route")
    message_id = world["message_id"]
    with served_api() as url:
        said = slipway("explain", message_id, SLIPWAY_URL=url, SLIPWAY_TOKEN=acme.token)
        plain = slipway("--url", url, "--token", acme.token, "explain", message_id, "--json")
    assert (said.returncode, said.stderr) == (0, "")
    assert "Bob at " in said.stdout
    assert "became  task: " in said.stdout
    assert "writer  member, heard: a member wrote this" in said.stdout
    assert "wiring  Shell [mention]: task, it was spoken to" in said.stdout
    assert json.loads(plain.stdout)["id"] == message_id


def test_it_says_what_stands_in_the_way(acme, globex, world):
    message_id = world["message_id"]
    with served_api() as url:
        for token, code in ((globex.token, "message_not_found"), ("sw_wrong", "token_invalid")):
            refused = slipway("--url", url, "--token", token, "explain", message_id)
            assert (refused.returncode, refused.stdout) == (1, "")
            assert code in refused.stderr
        unknown = slipway("--url", url, "--token", acme.token, "explain", str(uuid.uuid4()))
        assert "message_not_found" in unknown.stderr
    away = slipway("--url", "http://127.0.0.1:9", "--token", "sw_x", "explain", message_id)
    assert (away.returncode, "does not answer" in away.stderr) == (1, True)
    assert "SLIPWAY_URL" in slipway("explain", message_id).stderr
    assert slipway("explain").returncode == 2


def test_the_projects_script_is_this_command():
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["slipway"]
    module, _, name = script.partition(":")
    assert callable(getattr(import_module(module), name))
