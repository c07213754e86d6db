"""Reaching a link's mail servers, at addresses that were checked: tenants name their own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from services.adapters.chat.email.config import EmailConfig
from services.adapters.chat.email.failures import platform_errors
from services.adapters.mailbox.imap import Mailbox
from services.adapters.mailbox.servers import Server, check_sign_in, dial, hand_over
from services.adapters.upstreams.network import MAX_TRIED, Network


class MailServers:
    """The way to mail servers. `internal_hosts` are the operator's own, by commas."""

    def __init__(self, internal_hosts: str) -> None:
        hosts = (name.strip().lower() for name in internal_hosts.split(","))
        self._network = Network(internal_hosts=frozenset(host for host in hosts if host))

    @contextmanager
    def mailbox(self, config: EmailConfig) -> Iterator[Mailbox]:
        """Sign in to the mailbox, and out at the end.

        Raises, in the block too: PlatformThrottled, PlatformAway, PlatformRefused.
        """
        with platform_errors():
            opened = self._open(config.imap)
            try:
                starttls = self._network.tls if config.imap_security == "starttls" else None
                password = config.password.get_secret_value()
                mailbox = Mailbox.sign_in(config.imap_host, opened, config.user, password, starttls)
                try:
                    yield mailbox
                finally:
                    mailbox.close()
            finally:
                opened.close()

    def send(self, config: EmailConfig, mime: bytes, recipient: str) -> None:
        """Hand a mail over. Raises: PlatformThrottled, PlatformAway, PlatformRefused."""
        with platform_errors():
            opened = self._open(config.smtp)
            hand_over(opened, config.smtp, config.sign_in, self._network.tls, mime, [recipient])

    def check_sending(self, config: EmailConfig) -> None:
        """Sign in where mail is sent, and send none. Raises: as `send`."""
        with platform_errors():
            check_sign_in(self._open(config.smtp), config.smtp, config.sign_in, self._network.tls)

    def _open(self, server: Server) -> socket.socket:
        addresses = asyncio.run(self._network.find_addresses(server.host))[:MAX_TRIED]
        return dial(addresses, server, self._network.tls)
