"""Who gives bots their tokens and signs the calls to them: Microsoft's sign-in and the Bot Framework, in one server."""

from __future__ import annotations

import itertools
import time
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.serving import Faults, Journal, LocalServer
from tests.fakes.signing_keys import SigningKeys

ISSUER = "https://api.botframework.com"
SCOPE = "https://api.botframework.com/.default"
JSON = dict[str, Any]


class TeamsIssuer:
    """The server. `apps` has the secrets by `(tenant, app id)`; without it any secret is good."""

    def __init__(self, apps: dict[tuple[str, str], str] | None = None) -> None:
        self.apps = apps
        self.keys = SigningKeys()
        self.calls = Journal()
        self.faults = Faults()
        self._numbers = itertools.count(1)
        self._good: set[str] = set()
        self._server = LocalServer(
            Starlette(
                routes=[
                    Route("/{tenant}/oauth2/v2.0/token", self._token, methods=["POST"]),
                    Route("/v1/.well-known/openidconfiguration", self._metadata),
                    Route("/v1/.well-known/keys", self._keys),
                ]
            )
        )
        self.url = self._server.url

    def start(self) -> TeamsIssuer:
        """Serve until the process ends."""
        self._server.start()
        return self

    def __enter__(self) -> TeamsIssuer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def settings(self) -> dict[str, str]:
        """Return the settings that point an adapter here."""
        return {"TEAMSLOGIN_API_BASE": self.url, "TEAMSKEYS_API_BASE": self.url}

    def claims(self, app_id: str, service_url: str, moment: float | None = None) -> JSON:
        """Make what a token of a call says."""
        issued = int(time.time() if moment is None else moment)
        return {
            "iss": ISSUER,
            "aud": app_id,
            "serviceurl": service_url,
            "nbf": issued,
            "exp": issued + 3_600,
        }

    def is_good(self, token: str) -> bool:
        """Say whether a token was given out and not taken back."""
        return token in self._good

    def revoke_tokens(self) -> None:
        """Let no token be good any more."""
        self._good.clear()

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        tenant, app_id = request.path_params["tenant"], form.get("client_id", "")
        self.calls.add({"what": "token", "tenant": tenant, "app_id": app_id})
        fault = self.faults.take("token")
        if fault is not None:
            return Response("out of order", status_code=503)
        if form.get("grant_type") != "client_credentials" or form.get("scope") != SCOPE:
            return JSONResponse({"error": "invalid_request"}, status_code=400)
        known = None if self.apps is None else self.apps.get((tenant, app_id))
        if self.apps is not None and (known is None or known != form.get("client_secret")):
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        token = f"issued-{next(self._numbers)}"
        self._good.add(token)
        return JSONResponse({"token_type": "Bearer", "expires_in": 3_599, "access_token": token})

    async def _metadata(self, request: Request) -> Response:
        self.calls.add({"what": "metadata"})
        if self.faults.take("metadata") is not None:
            return Response("out of order", status_code=503)
        return JSONResponse({"issuer": ISSUER, "jwks_uri": f"{self.url}/v1/.well-known/keys"})

    async def _keys(self, request: Request) -> Response:
        self.calls.add({"what": "keys"})
        return JSONResponse(self.keys.jwks(endorsements=["msteams", "webchat"]))
