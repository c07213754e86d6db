"""The real Claude agent in its container and its tools: of every server, of one that it runs itself, and one held."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.mcp_gateway.http import TOOL_SERVERS
from tests.conftest import HOLD_WAIT_S, MODEL_KEY
from tests.fakes import caldav_server, composio_server, gmail_server, mail_server, teller_server
from tests.fakes.account_servers import AccountServers
from tests.fakes.anthropic_server import AnthropicServer, Rule, ToolUse
from tests.fakes.github_server import OWNER
from tests.fakes.mcp_upstream import McpUpstream
from tests.fakes.telegram_server import FakeTelegram
from tests.stack.accounts import CREDENTIALS, connect_accounts
from tests.stack.platforms import TelegramChat
from tests.stack.running import RunningStack, registered, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]

STDIO_SERVER = Path(__file__).parents[1] / "fakes" / "stdio_mcp.py"
USAGE = {"input_tokens": 1_000, "output_tokens": 100}
OF_ANOTHER = ToolUse(name="mcp__numbers__add", input={"a": 40, "b": 2})
NOTE = {"name": "release", "body": "Never on Fridays."}
WRITE = ToolUse(name="mcp__memory__memory_write", input=NOTE)
# The person takes longer than this to decide: the turn succeeds only if its deadline moves.
OWN_TIME_S = 5 * HOLD_WAIT_S
ALL_EVENTS = (
    b'<c:calendar-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:prop><c:calendar-data/></d:prop>'
    b'<c:filter><c:comp-filter name="VCALENDAR"/></c:filter></c:calendar-query>'
)


def make_agent(stack: RunningStack, servers: list[str]) -> str:
    """Make a Claude agent that has some servers."""
    fields = {"name": f"Caller {os.urandom(4).hex()}", "provider": "claude", "mcp_servers": servers}
    made = stack.http.post("/v1/agents", json=fields)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def data_of(stack: RunningStack, task: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return what the workspace's events of a kind say."""
    return [event["data"] for event in stack.events(task["workspace_id"]) if event["type"] == kind]


@pytest.fixture
def numbers(stack: RunningStack) -> Iterator[McpUpstream]:
    """Run a server of somebody else, which the organisation has registered as `numbers`."""
    with registered(stack, "numbers") as upstream:
        yield upstream


@dataclass(frozen=True)
class Outside:
    """All that the agent's servers lead to, and the agent."""

    agent: str
    accounts: AccountServers
    chat: TelegramChat
    numbers: McpUpstream


@pytest.fixture
def outside(
    stack: RunningStack, account_servers: AccountServers, telegram: FakeTelegram, numbers: McpUpstream
) -> Outside:
    """Let an agent have every server, an account of the person's at each party, and a chat to write to."""
    agent = make_agent(stack, [*(server.name for server in TOOL_SERVERS), "numbers"])
    allowed = stack.http.post("/v1/approval_rules", json={"effect": "allow", "tool": "*", "agent_id": agent})
    assert allowed.status_code == 201, allowed.text
    whose = connect_accounts(stack, account_servers, agent)
    assert (whose["gmail"], whose["github"]) == (gmail_server.ADDRESS, f"acme-agents at {OWNER}")
    chat = TelegramChat(stack, telegram, 19_002)
    code = stack.http.post("/v1/me/accounts/codes").json()["code"]
    chat.says(f"/link {code}")
    named = {"name": "team", "chat_id": chat.find_id(), "agent_ids": [agent]}
    made = stack.http.post("/v1/destinations", json=named)
    assert made.status_code == 201, made.text
    chat.wait_for_replies(1)
    return Outside(agent, account_servers, chat, numbers)


def use(server: str, tool: str, **arguments: Any) -> ToolUse:
    return ToolUse(name=f"mcp__{server}__{tool}", input=arguments)


LETTER = {"to": ["ann@example.com"], "subject": "Tea", "body": "It is ready."}
SHOP = f"{OWNER}/shop"


def writes_of(stack: RunningStack) -> list[ToolUse]:
    """Return a call that changes something at each server that can."""
    review = {"summary": "Review", "start": "2026-07-02T10:00:00Z", "end": "2026-07-02T11:00:00Z"}
    run = {"slug": "GITHUB_CREATE_AN_ISSUE", "arguments": {"title": "Run by Composio"}}
    return [
        use("memory", "memory_write", name="tea", body="Ann drinks it green."),
        use("notify", "notify_user", message="Half of it is done.", channel="telegram"),
        use("chat", "send_message", to="team", text="The agent has begun."),
        use("platform", "task_submit", agent=stack.agents["shell"], prompt="echo passed on"),
        use("gmail", "gmail_send", **LETTER),
        use("github", "github_create_issue", repository=SHOP, title="Tea is cold", body="Warm it."),
        use("mail", "mail_send", **LETTER),
        use("calendar", "calendar_create_event", **review),
        use("composio", "composio_execute_tool", **run),
    ]


def reads_of(stack: RunningStack, outside: Outside) -> list[tuple[ToolUse, str]]:
    """Return a call that reads at each server, and what of that server's content must stand in its answer."""
    accounts = outside.accounts
    accounts.gmail.receive_text("bob@example.com", "Invoice 7731", "Please pay.")
    accounts.mail.receive_text("bob@example.com", "Invoice 7732", "Please pay this too.")
    times = ("DTSTART:20260702T080000Z", "DTEND:20260702T090000Z")
    accounts.calendar.put("work", "breakfast", "SUMMARY:Breakfast with Bob", *times)
    accounts.github.repos[SHOP].files["README.md"] = "We sell tea."
    return [
        (use("memory", "memory_read", name="tea"), "Ann drinks it green."),
        (use("chat", "list_destinations"), "team"),
        (use("platform", "agent_get", agent=outside.agent), outside.agent),
        (use("gmail", "gmail_search", query="from:bob@example.com"), "Invoice 7731"),
        (use("github", "github_read_file", repository=SHOP, path="README.md"), "We sell tea."),
        (use("mail", "mail_search", sender="bob@example.com"), "Invoice 7732"),
        (use("calendar", "calendar_events", since="2026-07-02", days=1), "Breakfast with Bob"),
        (use("teller", "teller_get_balance", account_id="acc_1"), "28575.02"),
        (use("composio", "composio_list_connections"), "ca_github"),
        (OF_ANOTHER, "42"),
    ]


def test_claude_works_with_every_server(stack: RunningStack, model_server: AnthropicServer, outside: Outside):
    writes, reads = writes_of(stack), reads_of(stack, outside)
    asked = [*writes, *(read for read, _ in reads)]
    assert {each.name.split("__")[1] for each in asked} == {*(each.name for each in TOOL_SERVERS), "numbers"}
    model_server.requests.clear()
    model_server.rules = [
        Rule(user="use them all", has_tool_result=False, usage=USAGE, tool_uses=writes),
        Rule(user="use them all", tool_result="log_id", usage=USAGE, tool_uses=asked[len(writes) :]),
        Rule(user="use them all", has_tool_result=True, text="All of them answer.", usage=USAGE),
    ]
    task = stack.wait(stack.submit("use them all", agent=outside.agent)["id"], within_s=180)
    assert (task["status"], task["result"]["text"]) == ("succeeded", "All of them answer."), task
    names = {data["call_id"]: data["name"] for data in data_of(stack, task, "tool.called")}
    returned = data_of(stack, task, "tool.returned")
    assert not [row for row in returned if row["is_error"]], returned
    answers = {names[row["call_id"]]: row["output"] for row in returned}
    assert sorted(answers) == sorted(each.name for each in asked)
    for read, content in reads:
        assert content in answers[read.name], (read.name, answers[read.name])
    written_everywhere(stack, outside, answers)
    asked_with_their_own_credentials(outside.accounts)
    asked_of_the_other(outside.numbers, stack)
    shown = f"{model_server.message_calls()}{stack.events(task['workspace_id'])}"
    assert not [secret for secret in CREDENTIALS if secret in shown]


def written_everywhere(stack: RunningStack, outside: Outside, answers: dict[str, str]) -> None:
    """Check that each server holds what was written, once."""
    accounts = outside.accounts
    assert notes_of(stack, outside.agent) == [("tea", "Ann drinks it green.", 1)]
    # What is notified of begins with the agent's name.
    told = [text.rpartition(": ")[2] for text in outside.chat.wait_for_replies(3)[1:]]
    assert sorted(told) == ["Half of it is done.", "The agent has begun."]
    passed_on = json.loads(answers["mcp__platform__task_submit"])["task_id"]
    assert "passed on" in stack.wait(passed_on)["result"]["text"]
    (mail,) = [mail for mail in accounts.gmail.mails.values() if "SENT" in mail.labels]
    assert (mail.mime["To"], mail.mime["Subject"]) == ("ann@example.com", "Tea")
    assert [issue["title"] for issue in accounts.github.repos[SHOP].issues.values()] == ["Tea is cold"]
    ((sender, recipients, content),) = accounts.mail.sent
    assert (sender, recipients) == (mail_server.ADDRESS, ["ann@example.com"])
    assert b"It is ready." in content
    kept = accounts.calendar.http.request("REPORT", f"/{caldav_server.USER}/work/", content=ALL_EVENTS)
    assert kept.text.count("SUMMARY:Review") == 1
    assert [run["arguments"] for run in accounts.composio.executed.all()] == [{"title": "Run by Composio"}]


def asked_with_their_own_credentials(accounts: AccountServers) -> None:
    """Check what opened each account. Those that are not here refuse whoever shows another password than theirs."""
    gmail = [call["authorization"] for call in accounts.gmail.calls.all()]
    assert gmail and all(map(accounts.gmail.oauth.takes, gmail))
    github = {call["token"] for call in accounts.github.calls.all()}
    assert github and github <= set(accounts.github.tokens)
    assert {tuple(each["repositories"]) for each in accounts.github.minted.all()} == {(SHOP,)}
    assert {call["token"] for call in accounts.teller.calls.all()} == {teller_server.TOKEN}
    assert {call["key"] for call in accounts.composio.calls.all()} == {composio_server.KEY}


def asked_of_the_other(numbers: McpUpstream, stack: RunningStack) -> None:
    """Check that the other party was asked once, and told nothing that is ours."""
    seen = numbers.calls.all()
    (made,) = [call for call in seen if call.get("tool") not in (None, "tools/list")]
    assert (made["tool"], made["arguments"]) == ("add", OF_ANOTHER.input)
    heads = [call["headers"] for call in seen if "headers" in call]
    assert heads
    assert not any("authorization" in head for head in heads)
    for secret in ("swt_", "sw_", MODEL_KEY, stack.token):
        assert secret not in str(seen)


def test_claude_runs_a_registered_server_in_its_sandbox(stack: RunningStack, model_server: AnthropicServer):
    kept = stack.http.post("/v1/secrets", json={"name": "TOOLS_KEY", "value": "value-of-the-key"})
    assert kept.status_code == 201, kept.text
    program = {"command": "python3", "args": ["-c", STDIO_SERVER.read_text()], "allowed_tools": ["look"]}
    variables = {"env": {"MODE": "fast"}, "env_secrets": {"API_KEY": "TOOLS_KEY"}}
    made = stack.http.post(
        "/v1/mcp_servers", json={"name": "tools", "transport": "stdio", **program, **variables}
    )
    assert made.status_code == 201, made.text
    changed = stack.http.patch(
        f"/v1/agents/{stack.agents['claude']}", json={"mcp_servers": ["memory", "tools"]}
    )
    assert changed.status_code == 200, changed.text
    names = ["MODE", "API_KEY", "TOOLS_KEY"]
    uses = [ToolUse(name="mcp__tools__look", input={"names": names}), ToolUse(name="mcp__tools__quiet")]
    model_server.rules = [
        Rule(user="use your own", has_tool_result=False, usage=USAGE, tool_uses=uses),
        Rule(user="use your own", has_tool_result=True, text="It answers.", usage=USAGE),
    ]
    task = stack.wait(stack.submit("use your own", agent="claude")["id"], within_s=120)
    assert task["status"] == "succeeded", task
    events = stack.events(task["workspace_id"])
    returned = [event["data"] for event in events if event["type"] == "tool.returned"]
    look, quiet = sorted(returned, key=lambda row: row["is_error"])
    seen = json.loads(look["output"])
    assert seen["env"] == {"MODE": "fast", "API_KEY": "value-of-the-key", "TOOLS_KEY": None}
    assert quiet["is_error"], quiet
    assert "nothing to say" not in quiet["output"]
    query = {"task_id": task["id"], "kind": "upstream"}

    def on_record() -> list[tuple[str, str, str]]:
        calls = stack.http.get("/v1/calls", params=query).json()["items"]
        return sorted((call["server"], call["tool"], call["outcome"]) for call in calls)

    until(lambda: len(on_record()) == 2, within_s=60, what="what the sandbox says of its calls is on record")
    assert on_record() == [("tools", "(unknown)", "refused"), ("tools", "look", "ok")]


@pytest.fixture
def careful(stack: RunningStack) -> str:
    """Make an agent of which a person must allow each note."""
    agent = make_agent(stack, ["memory", "platform"])
    rule = {"effect": "hold", "tool": "memory.memory_write", "agent_id": agent}
    made = stack.http.post("/v1/approval_rules", json=rule)
    assert made.status_code == 201, made.text
    return agent


def test_a_held_call_waits_for_a_person_and_is_made_once(
    stack: RunningStack, model_server: AnthropicServer, careful: str
):
    asks = Rule(user="note it", has_tool_result=False, usage=USAGE, tool_uses=[WRITE])
    model_server.rules = [asks]
    task = stack.submit("note it", agent=careful, timeout_s=OWN_TIME_S)

    def pending() -> list[dict[str, Any]]:
        query = {"task_id": task["id"], "status": "pending"}
        return list(stack.http.get("/v1/approvals", params=query).json()["items"])

    (approval,) = until(pending, within_s=120, what="the call is held")
    waits = ToolUse(name="mcp__platform__approval_wait", input={"approval_id": approval["id"]})
    model_server.rules = [
        asks,
        Rule(user="note it", tool_result="approval_pending", usage=USAGE, tool_uses=[waits]),
        Rule(user="note it", tool_result="allowed and made", text="It is noted.", usage=USAGE),
    ]

    def calls() -> list[str]:
        return [data["name"] for data in data_of(stack, task, "tool.called")]

    until(lambda: waits.name in calls(), within_s=120, what="the agent waits for the decision")
    until(lambda: stack.task(task["id"])["status"] == "waiting", within_s=30, what="the clock stands still")
    assert notes_of(stack, careful) == []
    until(lambda: own_time_is_over(stack.task(task["id"])), within_s=2 * OWN_TIME_S, what="time passes")
    allowed = stack.http.post(f"/v1/approvals/{approval['id']}/decide", json={"decision": "allow"})
    assert (allowed.status_code, allowed.json()["status"]) == (200, "allowed"), allowed.text

    ended = stack.wait(task["id"], within_s=120)
    assert (ended["status"], ended["result"]["text"]) == ("succeeded", "It is noted."), ended
    assert calls() == [WRITE.name, waits.name]
    first, second = data_of(stack, task, "tool.returned")
    assert (first["is_error"], second["is_error"]) == (True, False), (first, second)
    assert approval["id"] in first["output"]
    assert notes_of(stack, careful) == [(NOTE["name"], NOTE["body"], 1)]
    assert stack.http.get(f"/v1/approvals/{approval['id']}").json()["call"]["state"] == "done"
    told = data_of(stack, task, "task.waiting")
    assert {(data["reason"], data["approval_id"]) for data in told} == {("approval", approval["id"])}
    started, finished = (datetime.fromisoformat(ended[name]) for name in ("started_at", "finished_at"))
    assert (finished - started).total_seconds() > OWN_TIME_S
    waited_s = data_of(stack, task, "task.resumed")[-1]["waited_ms"] / 1_000
    assert (finished - started).total_seconds() - waited_s < OWN_TIME_S


def own_time_is_over(task: dict[str, Any]) -> bool:
    """Say whether a task has run for longer than it may by itself."""
    return (datetime.now(UTC) - datetime.fromisoformat(task["started_at"])).total_seconds() > OWN_TIME_S


def notes_of(stack: RunningStack, agent: str) -> list[tuple[str, str, int]]:
    """Return an agent's notes, each with how often it was written."""
    found = stack.http.get("/v1/memories", params={"agent_id": agent}).json()["items"]
    return [(note["name"], note["body"], note["version"]) for note in found]
