"""`make screenshots`: every page that can be reached, in light, dark and phone width, as pictures to look at.

Starts a stack of its own with a few things in it, signs in, and follows links: one page of each kind. Says which pages
are wider than a phone, and which made the browser complain.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from benchmarks.stacks import running_stack
from tests.browser.conftest import CHROMIUM, FLAGS, PHONE, WIDE
from tests.stack.running import RunningStack

FOLDER = Path(".local/screenshots")
MOST_PAGES = 150
SETTLE_MS = 400
STYLES: dict[str, dict[str, Any]] = {
    "light": {"viewport": WIDE, "color_scheme": "light"},
    "dark": {"viewport": WIDE, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "has_touch": True, "is_mobile": True},
}
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
# What is no page of the dashboard: downloads, the API, the operators' desk, which has pictures of its own.
_OTHER = re.compile(r"^/(v1|static|admin|control|metrics|oauth|accounts/provider)/|\.csv$|/image$")
_LINKS = "() => [...document.querySelectorAll('a[href]')].map(link => link.href)"
_TOO_WIDE = "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"


def fill(stack: RunningStack) -> None:
    """Make a few things, so that pages have something to show."""
    shell = stack.agents["shell"]
    say = "echo 'Reading the numbers…'; mkdir -p out; seq 5 > out/numbers.txt; cat out/numbers.txt; uname -a"
    stack.run(say, agent_id=shell)
    stack.run("echo oops >&2; exit 3", agent_id=shell)
    made = {
        "/v1/playbooks": {
            "name": "Weekly numbers", "agent_id": shell, "prompt": "echo weekly", "cron": "0 9 * * 1",
            "timezone": "Europe/Berlin",
        },
        "/v1/secrets": {"name": "REPORTS_KEY", "value": "not a real one"},
        "/v1/rooms": {"title": "Planning"},
        "/v1/approval_rules": {"tool": "github.*", "effect": "hold"},
    }  # fmt: skip
    for path, body in made.items():
        answer = stack.http.post(path, json=body)
        if answer.status_code >= 400:
            print(f"not made: {path}: {answer.status_code} {answer.text[:200]}", file=sys.stderr)


def kind_of(url: str) -> str:
    """Return what a page's address says but for the ids in it."""
    parts = urlsplit(url)
    query = "?path" if "path=" in parts.query else ""
    return _ID.sub("x", parts.path).rstrip("/") + query or "/"


def find_pages(page: Page, base: str) -> dict[str, str]:
    """Follow links from the first page on; returns one address for each kind of page."""
    found = {"/": base + "/"}
    left = deque(found.values())
    while left and len(found) < MOST_PAGES:
        page.goto(left.popleft())
        for url in page.evaluate(_LINKS):
            path, kind = urlsplit(url).path, kind_of(url)
            if url.startswith(base) and not _OTHER.search(path) and kind not in found:
                found[kind] = url.partition("#")[0]
                left.append(found[kind])
    return found


def sign_in(page: Page, stack: RunningStack) -> None:
    """Sign in as the demo's person."""
    page.goto(f"{stack.api}/")
    page.get_by_label("E-mail").fill(stack.email)
    page.get_by_label("Password").fill(stack.password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("heading", name="Workspaces").wait_for()


def watch(page: Page, amiss: set[str]) -> None:
    """Note what the browser complains of."""

    def note(said: ConsoleMessage) -> None:
        if said.type == "error":
            amiss.add(f"{page.url}: {said.text}")

    page.on("console", note)
    page.on("pageerror", lambda error: amiss.add(f"{page.url}: {error}"))


def picture(page: Page, kind: str, style: str) -> None:
    """Take a page's picture: all of it, or where the page scrolls within itself, what is seen."""
    name = kind.strip("/").replace("/", "-").replace("?", "-") or "home"
    is_whole = page.locator("main.talk").count() == 0
    page.screenshot(path=FOLDER / f"{name}.{style}.png", full_page=is_whole)


def take(browser: Browser, stack: RunningStack) -> int:
    """Take the pictures, and return how many things were amiss."""
    amiss: set[str] = set()
    pages: dict[str, str] = {}
    for style, options in STYLES.items():
        context = browser.new_context(**options)
        page = context.new_page()
        page.goto(f"{stack.api}/sign-in")
        picture(page, "sign-in", style)
        sign_in(page, stack)
        watch(page, amiss)
        pages = pages or find_pages(page, stack.api)
        for kind, url in pages.items():
            page.goto(url)
            page.wait_for_timeout(SETTLE_MS)
            picture(page, kind, style)
            if page.evaluate(_TOO_WIDE):
                amiss.add(f"{kind}: wider than the screen ({style})")
        context.close()
    print(f"{len(pages) + 1} pages, {len(STYLES)} pictures of each, in {FOLDER}")
    for line in sorted(amiss):
        print(f"  ! {line}")
    return len(amiss)


def main() -> None:
    """Run a stack, fill it, and take the pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with running_stack(driver="docker", slots=6) as stack, sync_playwright() as playwright:
        fill(stack)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        amiss = take(browser, stack)
        browser.close()
    sys.exit(1 if amiss else 0)


if __name__ == "__main__":
    main()
