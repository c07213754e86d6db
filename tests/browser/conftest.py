"""Headless Chromium, and a page that notes everything that a good page does not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    sync_playwright,
)

from tests.stack.running import RunningStack

CHROMIUM = "/usr/bin/chromium"
# As root it needs --no-sandbox; the others keep it from calling home.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-first-run",
    "--no-pings",
    "--disable-features=OptimizationHints,MediaRouter,Translate,AutofillServerCommunication,"
    "CertificateTransparencyComponentUpdater",
]
WIDE = {"width": 1280, "height": 860}
PHONE = {"width": 375, "height": 740}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Run one browser for a module's tests.

    Not longer: while it runs, this thread has a running event loop, in which Django refuses to touch the database.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page in a browser of its own, signed in or not, and what it did that it should not have done."""

    stack: RunningStack
    page: Page
    faults: list[str] = field(default_factory=list)

    def note_console(self, message: ConsoleMessage) -> None:
        """Note errors, and among them violations of the content security policy."""
        if message.type in ("error", "warning"):
            self.faults.append(f"console {message.type}: {message.text}")

    def note_request(self, request: Request) -> None:
        """Note requests to anybody but the product itself."""
        own = {urlsplit(self.stack.api).netloc, urlsplit(self.stack.realtime).netloc}
        parts = urlsplit(request.url)
        if parts.scheme != "data" and parts.netloc not in own:
            self.faults.append(f"request to {request.url}")

    def note_response(self, response: Response) -> None:
        """Note what was refused or missing."""
        if response.status >= 400:
            self.faults.append(f"{response.status} of {response.url}")

    def open(self, path: str) -> None:
        """Open a page of the product."""
        self.page.goto(f"{self.stack.api}{path}")

    def sign_in(self) -> None:
        """Sign in as the demo's person."""
        self.open("/")
        self.page.get_by_label("E-mail").fill(self.stack.email)
        self.page.get_by_label("Password").fill(self.stack.password)
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        self.page.get_by_role("heading", name="Workspaces").wait_for()

    def start_task(self, prompt: str) -> None:
        """Send a prompt to the shell agent from the first page, and wait for its workspace."""
        self.open("/")
        self.page.get_by_label("Agent").select_option(label="Shell")
        self.page.get_by_role("textbox", name="Prompt").fill(prompt)
        self.page.keyboard.press("Control+Enter")
        self.page.wait_for_url("**/workspaces/*")
        self.wait_connected()

    def wait_connected(self, state: str = "true") -> None:
        """Wait until the page follows its stream."""
        self.page.locator(f'[data-connected="{state}"]').wait_for(timeout=20_000)

    def wait_turn(self, status: str, *, index: int = -1) -> None:
        """Wait until a turn, the last one unless told otherwise, is in a state."""
        self.page.locator(".turn").nth(index).and_(self.page.locator(f'[data-status="{status}"]')).wait_for(
            timeout=60_000
        )

    def conversation(self) -> list[str]:
        """Read the conversation as a person does: each message, tool card and foot line, in order."""
        read = """nodes => nodes.map(node => node.textContent.replace(/\\s+/g, " ").trim())"""
        return list(self.page.locator(".message, .tool, .turn-foot").evaluate_all(read))

    def has_horizontal_scroll(self) -> bool:
        """Say whether the page is wider than the screen."""
        return bool(
            self.page.evaluate(
                "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"
            )
        )


@pytest.fixture
def visit(chromium: Browser, stack: RunningStack) -> Iterator[Callable[..., Visit]]:
    """Give a function that opens a browser; at the end nothing may have gone wrong in any of them."""
    opened: list[tuple[BrowserContext, Visit]] = []

    def open_browser(**options: Any) -> Visit:
        context = chromium.new_context(**{"viewport": WIDE, **options})
        page = context.new_page()
        found = Visit(stack, page)
        page.on("console", found.note_console)
        page.on("pageerror", lambda error: found.faults.append(f"script: {error}"))
        page.on("request", found.note_request)
        page.on("response", found.note_response)
        opened.append((context, found))
        return found

    yield open_browser
    for context, _ in opened:
        context.close()
    assert [found.faults for _, found in opened] == [[] for _ in opened]
