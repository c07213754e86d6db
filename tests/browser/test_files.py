"""A workspace's files and a terminal in its sandbox, in a real browser against the running product."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import PHONE, Visit

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.timeout(240)]

Open = Callable[..., Visit]


def entry(me: Visit, name: str) -> Locator:
    """Return a line of the list of files."""
    return me.page.locator(".files .row", has_text=name)


def test_files_and_a_terminal_see_what_the_task_wrote(visit: Open) -> None:
    me = visit()
    me.sign_in()
    me.start_task("mkdir -p out; echo one > out/report.txt")
    me.wait_turn("succeeded")
    me.page.get_by_role("link", name="Files").click()
    entry(me, "out").click()
    entry(me, "report.txt").click()
    editor = me.page.get_by_label("Content")
    assert editor.input_value() == "one\n"
    editor.fill("two\n")
    me.page.get_by_role("button", name="Save").click()
    me.page.get_by_role("link", name="Files", exact=True).click()
    dropped = {"name": "dropped.txt", "mimeType": "text/plain", "buffer": b"from outside"}
    me.page.get_by_label("Files", exact=True).set_input_files([dropped])
    me.page.get_by_role("button", name="Upload").click()
    entry(me, "dropped.txt").wait_for()

    me.page.get_by_role("link", name="Terminal").click()
    screen = me.page.locator(".xterm-rows")
    me.page.locator("[data-terminal] textarea").wait_for(state="attached")
    expect(screen).to_contain_text("$", timeout=30_000)
    me.page.keyboard.type("cat out/report.txt dropped.txt; printf '\\033[38;2;9;8;7m'; echo $((6*7))\n")
    expect(screen).to_contain_text("two", timeout=30_000)
    expect(screen).to_contain_text("from outside42")
    me.page.keyboard.type("exit 3\n")
    expect(me.page.get_by_role("status")).to_contain_text("ended with 3", timeout=30_000)
    me.page.get_by_role("button", name="Open another").click()
    expect(screen).to_contain_text("$", timeout=30_000)


def test_files_fit_a_phone(visit: Open) -> None:
    me = visit(viewport=PHONE, has_touch=True)
    me.sign_in()
    me.start_task("echo a > a-rather-long-name-of-a-file-that-goes-on-and-on-and-on.txt")
    me.wait_turn("succeeded")
    me.page.get_by_role("link", name="Files").click()
    assert not me.has_horizontal_scroll()
    entry(me, "a-rather-long").click()
    assert not me.has_horizontal_scroll()
