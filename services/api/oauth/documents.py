"""Clients that are known by a document at their own address. It is fetched as strangers' addresses are: checked."""

from __future__ import annotations

import asyncio
import uuid

import httpx2
from pydantic import ValidationError

from services.adapters.upstreams.network import Network
from services.api.upstreams import network
from services.domain.errors import OAuthRefused, UpstreamAway, UpstreamRefused
from services.domain.oauth.clients import (
    DOCUMENT_LIFE,
    ClientDocument,
    all_tenants_find_client,
    all_tenants_remember_document,
    is_document_address,
)
from services.domain.oauth.models import MAX_URI_CHARS, OAuthClient
from services.kit.clock import now

MAX_DOCUMENT_BYTES = 64 * 1024
_WITHIN_S = 8.0


def find_client(client_id: str, org_id: uuid.UUID) -> OAuthClient | None:
    """Return the client that a person of an organisation is sent by; a document is asked for anew when it is old.

    Raises: OAuthRefused when the client's document cannot be had, or is not what it must be.
    """
    if len(client_id) > MAX_URI_CHARS:
        return None
    known = all_tenants_find_client(client_id, org_id)
    if not is_document_address(client_id):
        return known
    if known is not None and known.checked_at is not None and known.checked_at > now() - DOCUMENT_LIFE:
        return known
    return all_tenants_remember_document(client_id, asyncio.run(_fetch(client_id, network())))


async def _fetch(address: str, way_out: Network) -> ClientDocument:
    try:
        async with (
            asyncio.timeout(_WITHIN_S),
            way_out.client(read_s=_WITHIN_S) as client,
            client.stream("GET", address, headers={"Accept": "application/json"}) as answer,
        ):
            return ClientDocument.model_validate_json(await _read(answer))
    except (UpstreamAway, UpstreamRefused, httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
        raise OAuthRefused("invalid_client", "The client's document could not be fetched.") from error
    except ValidationError as error:
        raise OAuthRefused("invalid_client", "The client's document is not one.") from error


async def _read(answer: httpx2.Response) -> bytes:
    if answer.status_code != 200:
        raise OAuthRefused("invalid_client", "The client's document is not there.")
    body = bytearray()
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > MAX_DOCUMENT_BYTES:
            raise OAuthRefused("invalid_client", "The client's document is too large.")
    return bytes(body)
