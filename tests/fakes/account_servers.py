"""A local server for each party at which people have accounts, all at once, and the settings that lead there."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Self

from tests.fakes.caldav_server import CalDavServer
from tests.fakes.composio_server import ComposioServer
from tests.fakes.github_server import GithubServer
from tests.fakes.gmail_server import GmailServer
from tests.fakes.google_oauth import CLIENT_ID, CLIENT_SECRET
from tests.fakes.mail_server import MailServer
from tests.fakes.teller_server import TellerServer


class AccountServers:
    """One of each. Those that speak TLS have authorities of their own, which `trusted` has beside the usual."""

    def __init__(self, folder: Path) -> None:
        self.gmail, self.github, self.composio = GmailServer(), GithubServer(), ComposioServer()
        self.mail = MailServer(_new(folder, "mail"))
        self.teller = TellerServer(_new(folder, "teller"))
        self.calendar = CalDavServer(_new(folder, "calendar"))
        self.trusted = folder / "trusted.pem"
        usual = ssl.get_default_verify_paths().cafile
        files = [*([Path(usual)] if usual else []), self.mail.authority.path, self.teller.authority.path]
        self.trusted.write_bytes(b"\n".join(file.read_bytes() for file in files))
        self._running = contextlib.ExitStack()

    def settings(self) -> dict[str, str]:
        """Return the settings of an installation that finds these servers, and is a client at Google."""
        return {
            "GMAIL_API_BASE": self.gmail.url,
            "GOOGLE_ACCOUNTS_BASE": self.gmail.url,
            "GOOGLE_OAUTH_BASE": self.gmail.url,
            "GOOGLE_CLIENT_ID": CLIENT_ID,
            "GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
            "GITHUB_API_BASE": self.github.url,
            "TELLER_API_BASE": self.teller.url,
            "COMPOSIO_API_BASE": self.composio.url,
            "SSL_CERT_FILE": str(self.trusted),
        }

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as starting:
            for server in (
                self.gmail,
                self.github,
                self.composio,
                self.mail,
                self.teller,
                self.calendar,
            ):
                starting.enter_context(server)
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()


def _new(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made
