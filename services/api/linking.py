"""Joining a bot to its platform: checks its configuration, then asks the platform, outside of any transaction."""

from __future__ import annotations

import functools
import logging
import uuid
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from services.adapters.chat.checking import ask_health
from services.adapters.chat.registry import build_adapters, find_adapter
from services.api.http.bodies import explain
from services.domain.actors import Actor, require
from services.domain.chat_commands.catalogue import list_hints
from services.domain.chats.actions import (
    create_link,
    delete_link,
    read_link_config,
    update_link,
)
from services.domain.chats.health import hook_url, note_connected, note_failed, note_health
from services.domain.chats.models import Chat, Link, UnknownSenders
from services.domain.chats.opening import list_known_places, note_direct_chat
from services.domain.chats.queries import get_link, list_links
from services.domain.errors import (
    ConfigInvalid,
    Conflict,
    Invalid,
    Permanent,
    PlatformRefused,
    SlipwayError,
    Temporary,
)
from services.domain.ports.chat import ChatAdapter
from services.domain.ports.chat_abilities import BeginsChats, OpensChats, ShowsCommands
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChatAddress:
    """Where a person opens a chat with a bot, which is then sent a code of theirs: it is a secret like the code."""

    link_id: uuid.UUID
    kind: str
    name: str
    url: str


@functools.cache
def adapters() -> dict[str, ChatAdapter]:
    """Return this process's adapters by kind, each with the address that the settings give its platform."""
    return build_adapters(environment().platform_endpoints())


def setup_steps(link: Link) -> list[str]:
    """List what a person does on the platform's side, with the link's own address where it belongs."""
    adapter = find_adapter(link.kind)
    steps = adapter.manifest.setup if adapter is not None else ()
    return [step.replace("{hook_url}", hook_url(link)) for step in steps]


def setup_before(kind: str) -> list[str]:
    """List the same steps for a link that is not there yet, and has no address."""
    adapter = find_adapter(kind)
    steps = adapter.manifest.setup if adapter is not None else ()
    return [
        step.replace("{hook_url}", "the link's address, which its page shows once it is linked,")
        for step in steps
    ]


def checked_config(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration as its platform's own model reads it. Raises: Invalid, ConfigInvalid."""
    adapter = find_adapter(kind)
    if adapter is None or adapter.manifest.is_own:
        kinds = sorted(kind for kind, one in adapters().items() if not one.manifest.is_own)
        raise Invalid("There is no such platform.", fields={"kind": f"one of {', '.join(kinds)}"})
    try:
        revealed: dict[str, Any] = adapter.config_model.model_validate(config).revealed()  # type: ignore[attr-defined]
    except ValidationError as error:
        fields = {f"config.{name}": reason for name, reason in explain(error).details["fields"].items()}
        raise ConfigInvalid("The configuration is not usable.", fields=fields) from error
    return revealed


def add_link(
    actor: Actor,
    *,
    kind: str,
    name: str,
    config: dict[str, Any],
    default_agent_id: uuid.UUID | None,
    unknown_senders: UnknownSenders,
) -> Link:
    """Keep a bot's checked configuration, unconnected. Raises: Invalid, ConfigInvalid, AgentMissing, RoleMissing."""
    return create_link(
        actor,
        kind=kind,
        name=name,
        config=checked_config(kind, config),
        default_agent_id=default_agent_id,
        unknown_senders=unknown_senders,
    )


def change_link(actor: Actor, link_id: uuid.UUID, changes: dict[str, Any]) -> Link:
    """Change what a person may set on a link; a configuration as a whole.

    Raises: LinkMissing, ConfigInvalid, AgentMissing, RoleMissing.
    """
    with tenant_transaction(actor.org_id):
        kind = get_link(actor, link_id).kind
    config = changes.get("config")
    return update_link(
        actor,
        link_id,
        name=changes.get("name"),
        config=None if config is None else checked_config(kind, config),
        default_agent_id=changes.get("default_agent_id"),
        changes_agent="default_agent_id" in changes,
        unknown_senders=changes.get("unknown_senders"),
    )


def connect_link(actor: Actor, link_id: uuid.UUID) -> Link:
    """Have the platform check the credentials and send its updates here; keep who the bot is there.

    Raises: LinkMissing, PlatformRefused, PlatformAway, PlatformThrottled; a refusal is kept with the link as well.
    """
    link, config = _load(actor, link_id)
    adapter = adapters()[link.kind]
    try:
        identity = adapter.connect(config, hook_url(link))
        if isinstance(adapter, ShowsCommands):
            adapter.show_commands(config, list_hints())
    except (Permanent, Temporary) as error:
        note_failed(actor, link_id, error=error.message)
        raise
    update_link(actor, link_id, config=config.with_identity(identity).revealed())
    return note_connected(actor, link_id, identity=identity.display_name)


def check_link(actor: Actor, link_id: uuid.UUID) -> Link:
    """Ask the platform now whether a link works, and keep what it says; where it cannot be asked nothing changes.

    Raises: LinkMissing, Conflict for one that was never connected.
    """
    link, config = _load(actor, link_id)
    if link.status == "pending":
        raise Conflict("The link was not connected yet.")
    health = ask_health(adapters()[link.kind], config.revealed(), hook_url(link))
    return note_health(actor.org_id, link_id, health) if health is not None else link


def begin_chat(actor: Actor, link_id: uuid.UUID, person_id: str) -> Chat:
    """Begin a direct chat of a bot with a person, whom the platform names so; the same again is the same chat.

    Raises: LinkMissing, RoleMissing, Conflict where the platform or the link cannot, PlatformRefused, PlatformAway,
    PlatformThrottled.
    """
    require(actor, "chats:write", role="admin")
    link, config = _load(actor, link_id)
    adapter = adapters()[link.kind]
    if not isinstance(adapter, BeginsChats):
        raise Conflict(f"On {adapter.manifest.label} a bot cannot begin a chat: the person writes first.")
    if link.status == "pending":
        raise Conflict("The link was not connected yet.")
    with tenant_transaction(actor.org_id):
        known = list_known_places(actor, link_id)
    place = adapter.open_direct(config, person_id, known)
    if not place.chat_id:
        raise PlatformRefused("The platform named no chat.")
    return note_direct_chat(actor, link_id, place, person_id)


def list_chat_addresses(actor: Actor, code: str, link_id: uuid.UUID | None = None) -> list[ChatAddress]:
    """List the addresses that open a chat with one of the organisation's bots, or one's, and send it a code."""
    with tenant_transaction(actor.org_id):
        rows = list_links(actor).order_by("name") if link_id is None else [get_link(actor, link_id)]
        links = [(row, read_link_config(row)) for row in rows if row.status == "connected"]
    found = []
    for row, config in links:
        adapter = adapters()[row.kind]
        if isinstance(adapter, OpensChats):
            url = adapter.link_to_chat(adapter.config_model.model_validate(config), code)
            found.append(ChatAddress(row.id, row.kind, row.name, url))
    return found


def remove_link(actor: Actor, link_id: uuid.UUID) -> None:
    """Take the webhook back, if the platform lets us, and delete the link. Raises: LinkMissing."""
    link, config = _load(actor, link_id)
    try:
        adapters()[link.kind].disconnect(config)
    except SlipwayError as error:
        log.warning("link %s is deleted though its platform did not let it go: %s", link_id, error.message)
    delete_link(actor, link_id)


def _load(actor: Actor, link_id: uuid.UUID) -> tuple[Link, Any]:
    require(actor, "chats:write")
    with tenant_transaction(actor.org_id):
        link = get_link(actor, link_id)
        config = read_link_config(link)
    return link, adapters()[link.kind].config_model.model_validate(config)
