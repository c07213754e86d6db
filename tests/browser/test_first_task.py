"""The dashboard as a person uses it, in a real browser, against the running product."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import WebSocketRoute

from tests.browser.conftest import PHONE, Visit
from tests.stack.running import until

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.timeout(240)]

Open = Callable[..., Visit]
PAGES = (
    "/", "/agents", "/agents/new", "/playbooks", "/playbooks/new", "/links", "/links/new/telegram", "/deliveries",
    "/secrets", "/settings/tokens", "/settings/members",
)  # fmt: skip


def test_a_first_task_streams_in_ends_and_stays(visit: Open) -> None:
    me = visit()
    me.sign_in()
    # Said once: a page that follows later than that gets it whole all the same.
    me.start_task("echo first; sleep 12; echo second; uname -s")
    card = me.page.locator(".tool")
    output = card.locator(".output")
    output.filter(has_text="first").wait_for(timeout=60_000)
    # It came while the command was still at work: the rest is not there yet.
    assert card.get_attribute("data-state") == "running"
    assert "second" not in (output.text_content() or "")
    assert me.page.get_by_role("button", name="Stop").is_visible()
    me.wait_turn("succeeded")
    assert output.text_content() == "first\nsecond\nLinux\n"
    assert card.get_attribute("data-state") == "succeeded"
    assert not me.page.get_by_role("button", name="Stop").is_visible()
    before = me.conversation()
    me.page.reload()
    me.wait_connected()
    assert me.conversation() == before
    assert card.locator(".output").is_visible()


def test_the_next_prompt_finds_the_files_of_the_one_before(visit: Open) -> None:
    me = visit()
    me.sign_in()
    me.start_task("for n in 1 2; do\n  echo kept > note.txt\ndone")
    me.wait_turn("succeeded")
    me.page.get_by_role("textbox", name="Prompt").fill("cat note.txt")
    me.page.get_by_role("button", name="Send", exact=True).click()
    me.page.locator(".turn").nth(1).wait_for()
    me.wait_turn("succeeded", index=1)
    assert me.page.locator(".turn").nth(1).locator(".output").text_content() == "kept\n"
    assert me.page.get_by_role("textbox", name="Prompt").input_value() == ""


def test_stop_ends_a_task_at_work(visit: Open) -> None:
    me = visit()
    me.sign_in()
    me.start_task("echo started; sleep 200; echo never")
    me.page.locator(".output").filter(has_text="started").wait_for(timeout=60_000)
    me.page.get_by_role("button", name="Stop").click()
    me.wait_turn("cancelled")
    assert "never" not in (me.page.locator(".output").text_content() or "")
    assert not me.page.get_by_role("button", name="Stop").is_visible()


def test_a_command_that_fails_says_so(visit: Open) -> None:
    me = visit()
    me.sign_in()
    me.start_task("echo before; exit 3")
    me.wait_turn("failed")
    assert me.page.get_by_text("The command ended with exit code 3.").is_visible()
    assert me.page.locator(".tool").get_attribute("data-state") == "failed"


def test_a_broken_connection_leaves_no_gap_and_no_repeat(visit: Open) -> None:
    me = visit()
    sockets: list[WebSocketRoute] = []

    def join(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    me.page.route_web_socket("**/v1/stream*", join)
    me.sign_in()
    me.start_task("for n in 1 2 3 4 5 6; do echo line $n; sleep 0.5; done")
    for line in (1, 3):
        me.page.locator(".output").filter(has_text=f"line {line}\n").wait_for(timeout=60_000)
        count = len(sockets)
        sockets[-1].close()
        me.wait_connected("false")
        me.wait_connected()
        assert len(sockets) > count
    me.wait_turn("succeeded")
    assert me.page.locator(".output").text_content() == "".join(f"line {n}\n" for n in range(1, 7))
    before = me.conversation()
    assert len(me.page.locator(".turn").all()) == 1
    me.page.reload()
    me.wait_connected()
    assert me.conversation() == before


def test_two_browsers_see_the_same_conversation_live(visit: Open) -> None:
    me, other = visit(), visit(color_scheme="dark")
    me.sign_in()
    other.sign_in()
    me.start_task("echo one")
    me.wait_turn("succeeded")
    other.page.goto(me.page.url)
    other.wait_connected()
    me.page.get_by_role("textbox", name="Prompt").fill("echo from the first browser")
    me.page.keyboard.press("Control+Enter")
    other.page.locator(".output").filter(has_text="from the first browser").wait_for(timeout=60_000)
    for browser in (me, other):
        browser.wait_turn("succeeded", index=1)
    assert me.conversation() == other.conversation()


def test_without_scripts_everything_is_there_up_to_the_moment(visit: Open) -> None:
    me = visit(java_script_enabled=False)
    me.sign_in()
    me.page.get_by_label("Agent").select_option(label="Shell")
    me.page.get_by_role("textbox", name="Prompt").fill("echo started; sleep 200")
    me.page.get_by_role("button", name="Start task").click()
    me.page.wait_for_url("**/workspaces/*")
    # The form's answer is a page of its own, which must be there before it is loaded again.
    with me.page.expect_navigation():
        me.page.get_by_role("button", name="Stop").click()

    def is_cancelled() -> bool:
        me.page.reload()
        return me.page.locator('.turn[data-status="cancelled"]').count() == 1

    until(is_cancelled, within_s=30, what="the page shows that the task was stopped")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_scrolls_sideways(visit: Open, scheme: str) -> None:
    me = visit(viewport=PHONE, color_scheme=scheme, has_touch=True)
    me.sign_in()
    for path in PAGES:
        me.open(path)
        assert not me.has_horizontal_scroll(), path
    me.start_task(f"echo {'long' * 200}; echo '# a  b'")
    me.wait_turn("succeeded")
    assert not me.has_horizontal_scroll()
    menu = me.page.get_by_role("button", name="Menu")
    menu.click()
    me.page.get_by_role("link", name="Agents").click()
    me.page.get_by_role("heading", name="Agents").wait_for()
    assert not me.has_horizontal_scroll()


def test_every_page_can_be_reached_by_keyboard(visit: Open) -> None:
    me = visit()
    me.sign_in()
    me.page.keyboard.press("Tab")
    assert me.page.evaluate("() => document.activeElement.textContent") == "Skip to the content"
    reached: set[str] = set()
    for _ in range(30):
        me.page.keyboard.press("Tab")
        reached.add(str(me.page.evaluate("() => document.activeElement.getAttribute('href') || ''")))
    assert {"/agents", "/playbooks", "/links", "/deliveries", "/secrets", "/settings/tokens"} <= reached


def test_one_signs_out(visit: Open) -> None:
    me = visit()
    me.sign_in()
    me.page.locator(".account summary").click()
    me.page.get_by_role("button", name="Sign out").click()
    me.page.get_by_role("heading", name="Sign in to Slipway").wait_for()
    me.open("/agents")
    me.page.get_by_role("heading", name="Sign in to Slipway").wait_for()
