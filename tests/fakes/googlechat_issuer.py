"""Who gives Chat apps their tokens and signs the calls to them: Google's sign-in and its keys, in one server."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.serving import Faults, Journal, LocalServer
from tests.fakes.signing_keys import SigningKeys

CHAT_ACCOUNT = "chat@system.gserviceaccount.com"
GOOGLE = "https://accounts.google.com"
TOKEN_AUDIENCE = "https://oauth2.googleapis.com/token"
SCOPE = "https://www.googleapis.com/auth/chat.bot"
JSON = dict[str, Any]


class ServiceAccount:
    """An account of a project, with its key as Google gives it."""

    def __init__(self, email: str) -> None:
        self.email = email
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        self.json_key = json.dumps(
            {
                "type": "service_account",
                "project_id": "acme-chat",
                "private_key_id": "0123456789abcdef",
                "private_key": private,
                "client_email": email,
                "client_id": "115500000000000000001",
                # Nobody but Google's own sign-in is ever asked, whatever this says.
                "token_uri": "https://evil.example/token",
            }
        )

    def read(self, assertion: str) -> JSON:
        """Read what the account signed. Raises: jwt.PyJWTError."""
        claims: JSON = jwt.decode(
            assertion, self._key.public_key(), algorithms=["RS256"], audience=TOKEN_AUDIENCE
        )
        return claims


class GoogleIssuer:
    """The server. `accounts` are those whose assertions are taken."""

    def __init__(self, *accounts: ServiceAccount) -> None:
        self.accounts = list(accounts)
        self.chat_keys, self.google_keys = SigningKeys(), SigningKeys()
        self.calls = Journal()
        self.faults = Faults()
        self._numbers = itertools.count(1)
        self._good: set[str] = set()
        self._server = LocalServer(
            Starlette(
                routes=[
                    Route("/token", self._token, methods=["POST"]),
                    Route("/service_accounts/v1/metadata/x509/{account}", self._chat_certificates),
                    Route("/oauth2/v1/certs", self._google_certificates),
                ]
            )
        )
        self.url = self._server.url

    def start(self) -> GoogleIssuer:
        """Serve until the process ends."""
        self._server.start()
        return self

    def __enter__(self) -> GoogleIssuer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def settings(self) -> dict[str, str]:
        """Return the settings that point an adapter here."""
        return {"GOOGLECHATTOKEN_API_BASE": self.url, "GOOGLECHATKEYS_API_BASE": self.url}

    def chat_token(self, project_number: str, moment: float | None = None, **claims: Any) -> str:
        """Make the token of a call for a project's number."""
        said = _times(moment) | {"iss": CHAT_ACCOUNT, "aud": project_number} | claims
        return self.chat_keys.sign(said)

    def google_token(self, endpoint_url: str, moment: float | None = None, **claims: Any) -> str:
        """Make the token of a call for an endpoint's address."""
        said = {"iss": GOOGLE, "aud": endpoint_url, "email": CHAT_ACCOUNT, "email_verified": True}
        return self.google_keys.sign(_times(moment) | said | claims)

    def is_good(self, token: str) -> bool:
        """Say whether a token was given out and not taken back."""
        return token in self._good

    def revoke_tokens(self) -> None:
        """Let no token be good any more."""
        self._good.clear()

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        self.calls.add({"what": "token"})
        if self.faults.take("token") is not None:
            return Response("out of order", status_code=503)
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return JSONResponse({"error": "unsupported_grant_type"}, status_code=400)
        claims = next(filter(None, (_read(one, form.get("assertion", "")) for one in self.accounts)), None)
        if claims is None or claims.get("scope") != SCOPE or claims["exp"] - claims["iat"] > 3_600:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        token = f"ya29.issued-{next(self._numbers)}"
        self._good.add(token)
        return JSONResponse({"access_token": token, "expires_in": 3_599, "token_type": "Bearer"})

    async def _chat_certificates(self, request: Request) -> Response:
        self.calls.add({"what": "chat_keys"})
        if request.path_params["account"] != CHAT_ACCOUNT:
            return JSONResponse({"error": "not found"}, status_code=404)
        return JSONResponse(self.chat_keys.certificates())

    async def _google_certificates(self, request: Request) -> Response:
        self.calls.add({"what": "google_keys"})
        return JSONResponse(self.google_keys.certificates())


def _times(moment: float | None) -> JSON:
    issued = int(time.time() if moment is None else moment)
    return {"iat": issued, "exp": issued + 3_600}


def _read(account: ServiceAccount, assertion: str) -> JSON | None:
    try:
        claims = account.read(assertion)
    except jwt.PyJWTError:
        return None
    return claims if claims.get("iss") == account.email else None
