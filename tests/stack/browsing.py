"""A person's browser at the running product."""

from __future__ import annotations

import re
from typing import Self

import httpx

from tests.stack.running import RunningStack

_HIDDEN = re.compile(r'<input type="hidden" name="([a-z]+)" value="([^"]*)">')


class Browser:
    """The seeded person's: signed in, and told where it is sent instead of going there."""

    def __init__(self, stack: RunningStack) -> None:
        self.http = httpx.Client(base_url=stack.api, follow_redirects=False, timeout=15)
        self._who = {"email": stack.email, "password": stack.password}

    def __enter__(self) -> Self:
        self.submit("/sign-in", self._who)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def submit(self, address: str, fields: dict[str, str]) -> str:
        """Open a page and send its form; returns where that leads."""
        shown = self.http.get(address)
        assert shown.status_code == 200, shown.text
        hidden = dict(_HIDDEN.findall(shown.text.replace("'", '"')))
        done = self.http.post(address, data=hidden | fields, headers={"Referer": str(shown.url)})
        return _led_to(done)

    def follow(self, address: str) -> str:
        """Open an address that leads elsewhere; returns where."""
        return _led_to(self.http.get(address))


def _led_to(answer: httpx.Response) -> str:
    assert answer.is_redirect, answer.text
    return answer.headers["location"]
