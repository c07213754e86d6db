"""What a GitHub App shows, is given and is told, whichever HTTP client asks: for accounts and for chats.

Source: https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app,
https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretStr

VERSION_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
APP_ID = r"^[A-Za-z0-9.]{1,40}$"
MAX_KEY_CHARS = 20_000
_MIN_KEY_BITS = 2048
# Ten minutes are allowed, from a clock that may differ from ours.
_JWT_LIFE_S = 540
_CLOCKS_DIFFER_S = 60
# A token that ends while a call is on its way is of no use.
_EARLY_S = 120.0
_DEFAULT_WAIT_S = 60.0
_MAX_WAIT_S = 3_600.0
_PEM = re.compile(r"\s*(-----BEGIN [A-Z ]+-----)(.+?)(-----END [A-Z ]+-----)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class InstallationToken:
    """A token for one repository, and until when it is good. Its text is in no repr."""

    text: str = field(repr=False)
    good_until: float


def checked_key(secret: SecretStr) -> SecretStr:
    """Return the app's private key; what is said of a wrong one does not contain it. Raises: ValueError.

    An input of one line joins a file's lines: they are parted again.
    """
    pem = secret.get_secret_value()
    found = _PEM.fullmatch(pem)
    if found is not None:
        body = "".join(found[2].split())
        lines = [body[start : start + 64] for start in range(0, len(body), 64)]
        pem = "\n".join([found[1], *lines, found[3], ""])
    try:
        key = load_pem_private_key(pem.strip().encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ValueError("must be the app's private key, a PEM file without a passphrase") from error
    if not isinstance(key, RSAPrivateKey) or key.key_size < _MIN_KEY_BITS:
        raise ValueError("must be an RSA key of 2048 bits or more")
    return SecretStr(pem)


def sign_app_token(app_id: str, private_key: SecretStr) -> str:
    """Sign what shows who the app is. Raises: ValueError when the key is none."""
    moment = int(time.time())
    claims = {
        "iss": app_id,
        "iat": moment - _CLOCKS_DIFFER_S,
        "exp": moment + _JWT_LIFE_S - _CLOCKS_DIFFER_S,
    }
    try:
        return jwt.encode(claims, private_key.get_secret_value(), algorithm="RS256")
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise ValueError("The app's private key is not usable.") from error


def token_path(installation_id: int) -> str:
    """Return the path at which an installation's tokens are made."""
    return f"/app/installations/{installation_id}/access_tokens"


def token_request(repository: str, permissions: Mapping[str, str]) -> dict[str, Any]:
    """Return what asks for a token; without the two it would be good for all that the app may do."""
    return {"repositories": [repository.partition("/")[2]], "permissions": dict(permissions)}


def read_token(content: bytes, repository: str) -> InstallationToken:
    """Read the token that was made for a repository. Raises: ValueError."""
    try:
        made = json.loads(content)
        text, ends = str(made["token"]), datetime.fromisoformat(str(made["expires_at"])).timestamp()
        names = [str(each["full_name"]).lower() for each in made["repositories"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("GitHub's token is not to be understood.") from error
    if names != [repository.lower()]:
        # A name alone says nothing of its owner: the installation may be on another account.
        raise ValueError(f"The app is not installed for {repository}.")
    return InstallationToken(text, ends - _EARLY_S)


def wait_of(status: int, headers: Mapping[str, str], content: bytes) -> float | None:
    """Return how long to wait, in seconds, when an answer says that there were too many calls."""
    if status not in (403, 429):
        return None
    after = headers.get("retry-after", "")
    if after.isascii() and after.isdigit():
        return min(float(after), _MAX_WAIT_S)
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and reset.isascii() and reset.isdigit():
        return min(max(float(reset) - time.time(), 1.0), _MAX_WAIT_S)
    is_secondary = "secondary rate limit" in words_of(content).lower()
    return _DEFAULT_WAIT_S if status == 429 or is_secondary else None


def words_of(content: bytes) -> str:
    """Return an error's own words, with what it says of single fields."""
    try:
        body: Any = json.loads(content)
        parts = [str(body.get("message", ""))]
        for error in body.get("errors") or ():
            parts.append(str(error.get("message") or error) if isinstance(error, dict) else str(error))
        return " ".join(part for part in parts if part)[:800] or "(no reason given)"
    except (ValueError, AttributeError, TypeError):
        return "(no reason given)"
