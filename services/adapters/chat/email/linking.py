"""Joining a mailbox to Slipway, and asking whether it still works."""

from __future__ import annotations

from services.adapters.chat.email.config import EmailConfig
from services.adapters.chat.email.servers import MailServers
from services.adapters.chat.email.threads import INBOX
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import LinkIdentity


def connect(servers: MailServers, config: EmailConfig) -> LinkIdentity:
    """Sign in where mail is read and where it is sent."""
    with servers.mailbox(config) as mailbox:
        mailbox.open_folder(INBOX)
    servers.check_sending(config)
    return LinkIdentity(config.address.lower(), config.display_name or config.address)


def check_health(servers: MailServers, config: EmailConfig) -> str | None:
    """Say what a person has to mend, or None."""
    try:
        connect(servers, config)
    except PlatformRefused as error:
        return f"{error.message} Check the servers, the user name and the password of the link."
    return None
