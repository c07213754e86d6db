"""The third-party peers of a running stack: where they are is known before they run, so that the stack can be told."""

from __future__ import annotations

import contextlib
import json
import ssl
import tempfile
from pathlib import Path
from typing import Self

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.local.ports import pick_port
from services.adapters.chat.teams.tests.payloads import APP_ID, CONFIG, TENANT
from tests.fakes.certificates import Authority
from tests.fakes.discord_server import FakeDiscord
from tests.fakes.serving import LocalServer
from tests.fakes.teams_issuer import TeamsIssuer
from tests.peers.linear_bridge import LinearBridge

_PORTED = ("github", "slack", "linear", "teams", "matrix")
DISCORD_TOKENS = ("the-token-of-the-bot", "the-token-of-an-onlooker")


class TeamsSigner:
    """Hands the emulator's calls on to a hook with a token, which the Bot Framework sends and the emulator does not."""

    def __init__(self, issuer: TeamsIssuer) -> None:
        self._issuer, self.hook = issuer, ""
        self._server = LocalServer(Starlette(routes=[Route("/hook", self._take, methods=["GET", "POST"])]))
        self.url = f"{self._server.url}/hook"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        if not body:
            return Response()
        claims = self._issuer.claims(APP_ID, str(json.loads(body)["serviceUrl"]))
        headers = {
            "authorization": f"Bearer {self._issuer.keys.sign(claims)}",
            "content-type": "application/json",
        }
        async with httpx.AsyncClient(timeout=10) as client:
            answer = await client.post(self.hook, content=body, headers=headers)
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))


class Peers:
    """The ports of those that run later, and what runs from the beginning: what they lack, and our own Discord.

    `authority` signs for those that speak TLS.
    """

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        for name in _PORTED:
            self.ports[name] = pick_port(self.ports.values())
        self.linear = LinearBridge()
        self.discord = FakeDiscord(tokens=DISCORD_TOKENS)
        self.issuer = TeamsIssuer({(TENANT, APP_ID): CONFIG.client_secret.get_secret_value()})
        self.signer = TeamsSigner(self.issuer)
        self._running = contextlib.ExitStack()
        folder = Path(self._running.enter_context(tempfile.TemporaryDirectory(prefix="slipway-peers-")))
        self.authority = Authority(folder, "authority of peers")
        self._trusted = folder / "trusted.pem"
        usual = ssl.get_default_verify_paths().cafile
        files = [*([Path(usual)] if usual else []), self.authority.path]
        self._trusted.write_bytes(b"\n".join(file.read_bytes() for file in files))

    def settings(self) -> dict[str, str]:
        """Return the settings of an installation that finds them."""
        return {
            "GITHUB_API_BASE": f"http://127.0.0.1:{self.ports['github']}",
            "SLACK_API_BASE": f"http://127.0.0.1:{self.ports['slack']}/api/",
            "LINEAR_API_BASE": self.linear.url,
            "TEAMS_API_BASE": f"http://localhost:{self.ports['teams']}",
            "DISCORD_API_BASE": self.discord.api_base,
            "MATRIX_API_BASE": f"http://127.0.0.1:{self.ports['matrix']}",
            "SSL_CERT_FILE": str(self._trusted),
            **self.issuer.settings(),
        }

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as starting:
            for server in (self.linear, self.discord, self.issuer, self.signer):
                starting.enter_context(server)
            self._running.push(starting.pop_all())
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
