"""Asking a vendor whether a key is good, by what costs nothing: the list of its models."""

from __future__ import annotations

import httpx2
from pydantic import SecretStr

from services.adapters.upstreams.network import Network
from services.domain.errors import LlmKeyRefused, LlmKeyUnreachable, Permanent, SlipwayError, Temporary

_TIMEOUT_S = 15.0


def key_headers(vendor: str, key: SecretStr) -> dict[str, str]:
    """Return the headers that carry a key to a vendor."""
    text = key.get_secret_value()
    if vendor == "anthropic":
        return {"x-api-key": text, "anthropic-version": "2023-06-01"}
    return {"authorization": f"Bearer {text}"}


async def check_key(vendor: str, base_url: str, key: SecretStr, network: Network) -> None:
    """Ask the server for its models. Raises: LlmKeyRefused, LlmKeyUnreachable when nobody can say.

    Source: the vendors' API references, "Models".
    """
    try:
        async with network.client(read_s=_TIMEOUT_S) as client:
            answer = await client.get(f"{base_url}/v1/models", headers=key_headers(vendor, key))
            status = answer.status_code
    except (Temporary, Permanent) as error:
        raise LlmKeyUnreachable(error.message) from error
    except SlipwayError:
        raise
    except (httpx2.HTTPError, OSError, ValueError) as error:
        raise LlmKeyUnreachable("The server does not answer.") from error
    if status in (401, 403):
        raise LlmKeyRefused("The vendor does not take the key.", fields={"key": "refused by the vendor"})
    # A server that has no list of models has not refused the key.
    if status >= 500 or status == 429:
        raise LlmKeyUnreachable(f"The server answers with {status}.")
    if 300 <= status < 400:
        raise LlmKeyUnreachable("The server leads elsewhere.")
