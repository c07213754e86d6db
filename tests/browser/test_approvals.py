"""A refused host as a person sees it: live in the conversation, allowed by one click, and the next attempt passes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import ThreadingHTTPServer

import pytest

from tests.browser.conftest import PHONE, Visit
from tests.stack.test_egress import Answer

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.timeout(240)]


def test_a_refusal_is_allowed_where_it_is_shown(visit: Callable[..., Visit]) -> None:
    me = visit()
    me.sign_in()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asks = f"curl -s -o /dev/null -w '%{{http_code}} ' http://asked.test:{server.server_port}/"
        me.start_task(f"until {asks} | tee /dev/stderr | grep 200; do sleep 0.3; done")
        row = me.page.locator(".refusal")
        row.locator("code").filter(has_text=f"GET asked.test:{server.server_port}").wait_for(timeout=60_000)
        assert me.page.get_by_role("link", name="Approvals").is_visible()
        row.get_by_role("button", name="Allow once").click()
        row.get_by_text("allowed", exact=True).wait_for()
        assert not row.get_by_role("button", name="Allow once").is_visible()
        me.wait_turn("succeeded")
        server.shutdown()
    me.page.reload()
    me.wait_connected()
    assert row.count() == 1
    assert row.get_by_text("allowed", exact=True).is_visible()
    me.open("/approvals")
    entry = me.page.locator("li").filter(has_text=f"asked.test:{server.server_port}")
    entry.get_by_role("button", name="Take back").click()
    me.page.get_by_text("Denied.").wait_for()
    me.page.set_viewport_size(PHONE)
    assert not me.has_horizontal_scroll()
