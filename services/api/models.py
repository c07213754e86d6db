"""Keys for models, as admins save them: the vendor is asked between the actions, outside of any transaction."""

from __future__ import annotations

import asyncio
import functools
import uuid
from urllib.parse import urlsplit

from services.adapters.models.checking import check_key
from services.adapters.upstreams.network import Network
from services.domain.actors import Actor, require
from services.domain.errors import LlmKeyRefused, LlmKeyUnreachable
from services.domain.llm.keys import KeyToCheck, NewKey, create_key, get_check, plan_check, record_check
from services.domain.llm.models import KeyStatus, LlmKey, LlmVendor
from services.domain.vault.accesses import Access, record_accesses
from services.domain.vault.models import AccessWay
from services.kit.environment import environment


def add_key(actor: Actor, fields: NewKey) -> LlmKey:
    """Keep a key that its vendor takes; one whose vendor is not reached is kept, and says so.

    Raises: RoleMissing, LlmKeyRefused, NameTaken, Invalid, QueueFull.
    """
    require(actor, "models:write", role="admin")
    status, error = _ask(plan_check(fields))
    if status == KeyStatus.REFUSED:
        raise LlmKeyRefused(error, fields={"key": "refused by the vendor"})
    return create_key(actor, fields, status, error)


def check_again(actor: Actor, key_id: uuid.UUID) -> LlmKey:
    """Ask a key's vendor anew; what it says stands in the row. Raises: LlmKeyMissing, RoleMissing."""
    key = get_check(actor, key_id)
    if key.used is not None:
        host = urlsplit(_url_of(key)).hostname or ""
        record_accesses(actor.org_id, [Access.by_person(actor, key.used, AccessWay.CHECK, host=host)])
    status, error = _ask(key)
    return record_check(actor, key_id, status, error)


def _ask(key: KeyToCheck) -> tuple[KeyStatus, str]:
    base_url = _url_of(key)
    try:
        asyncio.run(check_key(key.vendor, base_url, key.key, _network(key.base_url == "", base_url)))
    except LlmKeyRefused as error:
        return KeyStatus.REFUSED, error.message
    except LlmKeyUnreachable as error:
        return KeyStatus.UNREACHABLE, error.message
    return KeyStatus.OK, ""


def _url_of(key: KeyToCheck) -> str:
    return key.base_url or _vendors_url(key.vendor)


def _vendors_url(vendor: str) -> str:
    env = environment()
    url = env.anthropic_base_url if vendor == LlmVendor.ANTHROPIC else env.openai_base_url
    return url.rstrip("/").removesuffix("/v1")


def _network(is_installations: bool, base_url: str) -> Network:
    """Return the way out: the installation's own addresses may be anywhere, those that were typed in may not."""
    own = {urlsplit(base_url).hostname or ""} if is_installations else set()
    return _network_for(frozenset(environment().internal_hosts() | own))


@functools.lru_cache(maxsize=8)
def _network_for(internal_hosts: frozenset[str]) -> Network:
    return Network(internal_hosts=internal_hosts)
