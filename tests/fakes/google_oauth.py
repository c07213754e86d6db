"""Google's authorization server: PKCE, offline access, refresh tokens that rotate, revocation."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tests.fakes.serving import Journal

CLIENT_ID = "client-1.apps.example"
CLIENT_SECRET = "client-secret-1"


class GoogleOAuth:
    """Grants codes and tokens. A refresh token is good once: a second use ends the grant, as a stolen one would."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.is_down = False
        self._lock = threading.Lock()
        self._codes: dict[str, dict[str, str]] = {}
        self._access: set[str] = set()
        self._refresh: set[str] = set()

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/o/oauth2/v2/auth", self._authorize),
            Route("/token", self._token, methods=["POST"]),
            Route("/revoke", self._revoke, methods=["POST"]),
        ]

    def takes(self, authorization: str) -> bool:
        """Say whether an Authorization header has a good access token."""
        scheme, _, token = authorization.partition(" ")
        return scheme == "Bearer" and token in self._access

    def expire_access_tokens(self) -> None:
        """Take all access tokens for bad from now on."""
        with self._lock:
            self._access.clear()

    def take_back(self) -> None:
        """End the grant, as a person does in their Google account."""
        with self._lock:
            self._access.clear()
            self._refresh.clear()

    @property
    def is_granted(self) -> bool:
        """Say whether there is a grant."""
        return bool(self._refresh)

    def refreshes(self) -> int:
        """Count the refreshes that were asked for."""
        return len([entry for entry in self.journal.all() if entry.get("grant_type") == "refresh_token"])

    async def _authorize(self, request: Request) -> Response:
        query = dict(request.query_params)
        self.journal.add({"step": "authorize", **query})
        known = {
            "response_type": "code", "client_id": CLIENT_ID, "access_type": "offline", "prompt": "consent",
            "code_challenge_method": "S256", "scope": "https://www.googleapis.com/auth/gmail.modify",
        }  # fmt: skip
        wrong = [name for name, value in known.items() if query.get(name) != value]
        if wrong or "resource" in query or not query.get("state"):
            return JSONResponse({"error": "invalid_request", "wrong": wrong}, 400)
        code = secrets.token_hex(8)
        self._codes[code] = query
        answer = {"code": code, "state": query["state"], "iss": str(request.base_url).rstrip("/")}
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer)}")

    async def _token(self, request: Request) -> Response:
        form = _form(await request.body())
        self.journal.add({"step": "token", **form})
        if self.is_down:
            return Response("busy", 503)
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return _error("invalid_client", 401)
        with self._lock:
            match form.get("grant_type"):
                case "authorization_code":
                    return self._redeem(form)
                case "refresh_token":
                    return self._renew(form["refresh_token"])
        return _error("unsupported_grant_type")

    def _redeem(self, form: dict[str, str]) -> Response:
        asked = self._codes.pop(form["code"], None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or asked["code_challenge"] != challenge:
            return _error("invalid_grant")
        if asked["redirect_uri"] != form.get("redirect_uri"):
            return _error("redirect_uri_mismatch")
        return self._grant()

    def _renew(self, token: str) -> Response:
        if token not in self._refresh:
            self._access.clear()
            self._refresh.clear()
            return _error("invalid_grant")
        self._refresh.discard(token)
        return self._grant()

    async def _revoke(self, request: Request) -> Response:
        form = _form(await request.body())
        self.journal.add({"step": "revoke", **form})
        if self.is_down:
            return Response("busy", 503)
        if form["token"] not in self._refresh | self._access:
            return _error("invalid_token")
        self.take_back()
        return JSONResponse({})

    def _grant(self) -> Response:
        access, refresh = f"ya29.{secrets.token_hex(8)}", f"1//{secrets.token_hex(8)}"
        self._access.add(access)
        self._refresh.add(refresh)
        body: dict[str, Any] = {
            "access_token": access,
            "refresh_token": refresh,
            "token_type": "Bearer",
            "expires_in": 3599,
            "scope": "https://www.googleapis.com/auth/gmail.modify",
        }
        return JSONResponse(body)


def _form(body: bytes) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(body.decode()).items()}


def _error(code: str, status: int = 400) -> Response:
    return JSONResponse({"error": code, "error_description": "Bad Request"}, status)
