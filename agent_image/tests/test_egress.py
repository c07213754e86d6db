"""The way outside, as a turn finds it: a loopback port that leads to the proxy's socket, and the usual variables."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent_image.runner.runner import Runner
from tests.fakes.gateway_link import FakeGateway

SHOW = "printenv HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy NO_PROXY no_proxy"
PEM = "-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n"


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Play the proxy: refuse, and say what was asked for."""
    request = await reader.readuntil(b"\r\n")
    body = b"refused " + request.strip()
    writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    writer.close()


async def test_a_turn_reaches_the_proxy_through_the_variables(
    runner: Runner, gateway: FakeGateway, socket_folder: Path
) -> None:
    script = (
        "import os, urllib.request, urllib.error\n"
        "try:\n    urllib.request.urlopen('http://outside.test/a')\n"
        "except urllib.error.HTTPError as error:\n    print(error.read().decode())"
    )
    server = await asyncio.start_unix_server(refuse, str(socket_folder / "egress.sock"))
    async with server:
        done = await gateway.run_turn("shell", SHOW, env={"HTTPS_PROXY": "http://elsewhere.test"})
        proxy = done["text"].splitlines()[0]
        assert proxy.startswith("http://127.0.0.1:")
        assert done["text"].splitlines() == [proxy] * 6 + ["127.0.0.1,localhost"] * 2
        done = await gateway.run_turn("shell", f'python3 -c "{script}"')
        assert done["text"] == "refused GET http://outside.test/a HTTP/1.1"


async def test_the_authority_of_the_proxy_is_trusted_while_the_turn_says_so(
    runner: Runner,
    gateway: FakeGateway,
    socket_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    show = 'echo "$SSL_CERT_FILE"; cat "$NODE_EXTRA_CA_CERTS" | tail -3'
    async with await asyncio.start_unix_server(refuse, str(socket_folder / "egress.sock")):
        done = await gateway.run_turn("shell", show, options={"egress": {"ca_pem": PEM}})
        path, _, end = done["text"].partition("\n")
        assert path == str(tmp_path / "slipway-authorities.pem")
        assert end == PEM.strip()
        done = await gateway.run_turn("shell", 'echo "at $SSL_CERT_FILE"')
        assert "slipway" not in done["text"]


async def test_without_a_proxy_there_are_no_variables(
    runner: Runner, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SHOW.split()[1:]:
        monkeypatch.delenv(name, raising=False)
    done = await gateway.run_turn("shell", f"{SHOW} || echo none", env={})
    assert done["text"] == "none"
