"""The keys with which Google signs its calls, as certificates by their ids.

Source: https://developers.google.com/workspace/chat/verify-requests-from-chat
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate

from services.adapters.chat.bearer import IssuerKey
from services.adapters.chat.calls import away, read_json, request

CHAT_ACCOUNT = "chat@system.gserviceaccount.com"
# For apps whose audience is the project's number, and for those whose audience is the endpoint's address.
CHAT_PATH = f"/service_accounts/v1/metadata/x509/{CHAT_ACCOUNT}"
GOOGLE_PATH = "/oauth2/v1/certs"
_LABEL = "Google's list of keys"


def fetch_keys(base_url: str, path: str) -> Mapping[str, IssuerKey]:
    """Fetch the keys at a path. Raises: PlatformAway."""
    answer = request(_LABEL, "GET", f"{base_url.rstrip('/')}{path}")
    if answer.status_code != 200:
        raise away(_LABEL, may_have_arrived=False)
    found = ((key_id, _read(pem)) for key_id, pem in read_json(answer).items())
    return {key_id: IssuerKey(key) for key_id, key in found if key is not None}


def _read(pem: object) -> RSAPublicKey | None:
    try:
        key = load_pem_x509_certificate(str(pem).encode()).public_key()
    except ValueError:
        return None
    return key if isinstance(key, RSAPublicKey) else None
