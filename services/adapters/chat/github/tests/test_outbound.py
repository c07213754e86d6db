"""What reaches GitHub, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from services.adapters.chat.github import inbound
from services.adapters.chat.github.adapter import GithubAdapter
from services.adapters.chat.github.tests.payloads import CONFIG, SECRET
from services.adapters.chat.tests.hook import Hook
from services.domain.errors import PlatformAway, PlatformRefused, PlatformThrottled
from services.domain.ports.chat import LinkIdentity, Place
from tests.fakes.github_chat_server import BOT_ID, GithubChatServer
from tests.fakes.serving import Fault

ISSUE = Place("acme/shop#1")


@pytest.fixture
def server() -> Iterator[GithubChatServer]:
    with GithubChatServer() as running:
        running.add_issue("shop", "Login fails", "It says 500.")
        yield running


@pytest.fixture
def adapter(server: GithubChatServer) -> GithubAdapter:
    return GithubAdapter(server.url)


def test_connecting_learns_by_which_user_the_app_writes(adapter: GithubAdapter) -> None:
    assert adapter.connect(CONFIG, "https://slipway.example/h") == LinkIdentity(str(BOT_ID), "acme-agents")


def test_an_app_without_a_right_says_which(adapter: GithubAdapter, server: GithubChatServer) -> None:
    server.permissions["pull_requests"] = "read"
    with pytest.raises(PlatformRefused, match="pull_requests"):
        adapter.connect(CONFIG, "https://slipway.example/h")
    server.permissions["pull_requests"] = "write"
    server.events.remove("issue_comment")
    assert "issue_comment" in str(adapter.check_health(CONFIG, "https://slipway.example/h"))


def test_its_health_is_that_of_key_installation_and_webhook(
    adapter: GithubAdapter, server: GithubChatServer
) -> None:
    server.hook_url = "https://slipway.example/h"
    assert adapter.check_health(CONFIG, "https://slipway.example/h") is None
    assert "https://slipway.example/other" in str(
        adapter.check_health(CONFIG, "https://slipway.example/other")
    )
    server.is_suspended = True
    assert "let the app" in str(adapter.check_health(CONFIG, "https://slipway.example/h"))


def test_markdown_goes_out_as_it_was_written_but_for_what_looks_like_html(adapter: GithubAdapter) -> None:
    text = (
        "# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- [ ] todo\n\n`List<String>` and List<String>, "
        "<https://e.org>\n\n```py\nif a <b:\n```\n\n<details>more</details> <!-- gone -->"
    )
    (part,) = adapter.render(text)
    assert part == text.replace("and List<", "and List&lt;").replace("<!--", "&lt;!--")


def test_a_text_that_is_too_long_goes_out_in_parts_with_its_code_closed(adapter: GithubAdapter) -> None:
    parts = adapter.render("**start**\n\n```py\n" + "a = 1\n" * 12_000 + "```\n\nend")
    assert len(parts) == 2
    assert all(part.count("```") == 2 for part in parts)
    assert parts[0].startswith("**start**\n\n```py\n")
    assert parts[1].endswith("```\n\nend")


def test_a_token_is_for_one_repository_and_is_asked_for_once(
    adapter: GithubAdapter, server: GithubChatServer
) -> None:
    for _ in range(3):
        adapter.send(CONFIG, ISSUE, "hello")
    assert server.minted.all() == [
        {"repositories": ["acme/shop"], "permissions": {"issues": "write", "pull_requests": "write"}}
    ]


def test_a_token_that_was_revoked_is_made_anew_once(adapter: GithubAdapter, server: GithubChatServer) -> None:
    adapter.send(CONFIG, ISSUE, "one")
    server.tokens.clear()
    adapter.send(CONFIG, ISSUE, "two")
    assert [entry["body"] for entry in server.sent.all()] == ["one", "two"]
    server.token_life = timedelta(seconds=-1)
    server.tokens.clear()
    with pytest.raises(PlatformRefused):
        adapter.send(CONFIG, ISSUE, "three")


def test_another_repository_is_refused(adapter: GithubAdapter) -> None:
    with pytest.raises(PlatformRefused, match="not installed for this repository"):
        adapter.send(CONFIG, Place("acme/vault#1"), "hello")


@pytest.mark.parametrize("name", ["acme/shop", "acme/..#1", "a b/c#1", "acme/shop#x", "acme/shop#1/../2"])
def test_a_place_that_is_no_issue_is_refused_before_anything_is_asked(
    adapter: GithubAdapter, server: GithubChatServer, name: str
) -> None:
    with pytest.raises(PlatformRefused):
        adapter.send(CONFIG, Place(name), "hello")
    assert server.calls.all() == []


def test_an_answer_on_a_line_goes_into_its_thread(adapter: GithubAdapter, server: GithubChatServer) -> None:
    number = server.add_pull("shop", "Mend it", {"shop.py": "x"})
    first = server.review_comment("shop", number, "why?")
    place = Place(f"acme/shop#{number}", str(first["id"]))
    receipt = adapter.send_with_key(CONFIG, place, "because", "key-1")
    (sent,) = server.sent.all()
    assert sent["in_reply_to_id"] == first["id"]
    assert receipt.message_id == f"review_comment:{sent['id']}"
    assert adapter.find_sent(CONFIG, place, "key-1") == receipt
    adapter.react(CONFIG, place, receipt.message_id, "rocket")
    adapter.edit(CONFIG, place, receipt.message_id, "since")
    assert server.sent.all()[0]["body"] == "since"
    adapter.delete(CONFIG, place, receipt.message_id)
    assert adapter.find_sent(CONFIG, place, "key-1") is None


def test_the_key_is_hidden_and_a_copy_of_it_by_others_is_not_ours(
    adapter: GithubAdapter, server: GithubChatServer
) -> None:
    adapter.send_with_key(CONFIG, ISSUE, "```\nopen code", "key-1")
    body = server.sent.all()[0]["body"]
    marker, rest = body.split("\n", 1)
    assert (marker[:13], marker[-4:], rest) == ("<!-- slipway:", " -->", "```\nopen code")
    assert "key-1" not in body
    server.comment_event("shop", 1, body.replace("open", "forged"))
    server.comments = {key: each for key, each in server.comments.items() if each["user"]["id"] != BOT_ID}
    assert adapter.find_sent(CONFIG, ISSUE, "key-1") is None


def test_what_was_sent_is_found_behind_many_others(adapter: GithubAdapter, server: GithubChatServer) -> None:
    for number in range(130):
        server.comment_event("shop", 1, f"noise {number}")
    receipt = adapter.send_with_key(CONFIG, ISSUE, "hello", "key-1")
    assert adapter.find_sent(CONFIG, ISSUE, "key-1") == receipt


def test_taking_up_an_issue_or_a_comment_shows_eyes_once(
    adapter: GithubAdapter, server: GithubChatServer
) -> None:
    comment = server.comment_event("shop", 1, "hello")["comment"]["id"]
    for _ in range(2):
        adapter.acknowledge(CONFIG, ISSUE, "issue:1")
        adapter.acknowledge(CONFIG, ISSUE, f"comment:{comment}")
    assert [entry["on"] for entry in server.reactions.all()] == ["issue:1", f"comment:{comment}"]
    assert {entry["content"] for entry in server.reactions.all()} == {"eyes"}


@pytest.mark.parametrize(
    ("emoji", "name"),
    [
        ("🚀", "rocket"),
        (":rocket:", "rocket"),
        ("👎", "-1"),
        ("eyes", "eyes"),
        ("hooray", "hooray"),
        ("🍌", None),
    ],
)
def test_reactions_are_githubs_eight(adapter: GithubAdapter, emoji: str, name: str | None) -> None:
    assert adapter.find_emoji(emoji) == name


def test_what_others_wrote_is_not_changed(adapter: GithubAdapter) -> None:
    with pytest.raises(PlatformRefused, match="somebody else"):
        adapter.edit(CONFIG, ISSUE, "issue:1", "x")


@pytest.mark.parametrize("how", ["secondary", "primary"])
def test_both_limits_are_throttling(adapter: GithubAdapter, server: GithubChatServer, how: str) -> None:
    server.faults.plan(Fault(how, retry_after_s=42))
    with pytest.raises(PlatformThrottled) as caught:
        adapter.send(CONFIG, ISSUE, "hello")
    assert 40 < caught.value.retry_after_s <= 42


def test_a_repository_that_moved_is_refused_and_garbage_is_temporary(
    adapter: GithubAdapter, server: GithubChatServer
) -> None:
    server.faults.plan(Fault("moved"))
    with pytest.raises(PlatformRefused, match="another name"):
        adapter.send(CONFIG, ISSUE, "hello")
    server.faults.plan(Fault("garbage"))
    with pytest.raises(PlatformAway):
        adapter.send(CONFIG, ISSUE, "hello")


def test_an_event_that_github_delivers_is_verified_and_read(server: GithubChatServer) -> None:
    with Hook() as hook:
        server.subscribe(hook.url, SECRET)
        server.deliver("issue_comment", server.comment_event("shop", 1, "@acme-agents hello"))
        call = hook.calls.wait_for(1)[0]["call"]
    inbound.verify(CONFIG, call)
    assert inbound.parse(CONFIG, call).messages[-1].text == "hello"
