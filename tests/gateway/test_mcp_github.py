"""The GitHub tools against a server that speaks GitHub's API to an app: narrow tokens, and what is done with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from conftest import recorded
from services.api.accounts import change_account, check_account, checked_new
from services.domain.errors import ConfigInvalid
from services.domain.tasks.queries import all_tenants_find_task_token
from tests.fakes.github_server import APP_ID, INSTALLATION, OWNER, GithubServer, private_key
from tests.fakes.serving import Fault
from tests.gateway.account_cast import add, allow, calling, make_impatient, point_at, stored
from tests.gateway.serving import Caller

SETTINGS = {
    "app_id": APP_ID,
    "installation_id": INSTALLATION,
    "repositories": [f"{OWNER}/shop", f"{OWNER}/site"],
}
SHOP = {"repository": f"{OWNER}/shop"}


@pytest.fixture
def server(monkeypatch) -> Iterator[GithubServer]:
    """Run GitHub on loopback."""
    make_impatient(monkeypatch)
    with GithubServer() as running:
        point_at(monkeypatch, github_api_base=running.url)
        yield running


def connect(acme, **settings):
    return add(
        acme.owner, "github", "acme", settings=SETTINGS | settings, credentials={"private_key": private_key()}
    )


@pytest.fixture
def account(acme, server):
    """Connect the app's installation as alice."""
    return connect(acme)


@pytest.fixture
def github(gateway, acme, account) -> Caller:
    """Call the GitHub tools for alice."""
    return calling(gateway, acme, "github")


def minted(server: GithubServer) -> list[tuple[list[str], dict[str, str]]]:
    return [(each["repositories"], each["permissions"]) for each in server.minted.all()]


def test_an_installation_is_checked_and_says_whose_it_is(account):
    assert (account.status, account.identity) == ("ok", "acme-agents at acme")


def test_a_token_is_for_one_repository_and_no_more_rights_than_the_call_needs(github, server):
    server.add_issue("shop", "Tea is cold")
    for _ in range(3):
        github("github_list_issues", **SHOP)
    github("github_comment", **SHOP, number=1, body="Warm it.")
    github("github_get_repository", repository=f"{OWNER}/site")
    assert minted(server) == [
        ([f"{OWNER}/shop"], {"issues": "read"}),
        ([f"{OWNER}/shop"], {"issues": "write"}),
        ([f"{OWNER}/site"], {"metadata": "read"}),
    ]


def test_calls_at_once_ask_for_one_token(gateway, acme, server, account):
    agents = [calling(gateway, acme, "github") for _ in range(4)]
    with ThreadPoolExecutor(20) as threads:
        list(threads.map(lambda agent: agent("github_list_issues", **SHOP), agents * 5))
    assert len(minted(server)) == 1


def test_a_token_about_to_end_or_refused_is_replaced(github, server):
    server.token_life = timedelta(seconds=90)
    github("github_list_issues", **SHOP)
    github("github_list_issues", **SHOP)
    assert len(minted(server)) == 2
    server.token_life = timedelta(hours=1)
    github("github_list_issues", **SHOP)
    server.tokens.clear()
    assert github("github_list_issues", **SHOP)["issues"] == []
    assert len(minted(server)) == 4


def test_only_allowed_repositories_are_reached_and_fewer_by_some_agents(gateway, acme, server):
    narrow = calling(gateway, acme, "github")
    row = connect(acme)
    assert narrow("github_list_repositories")["repositories"] == [f"{OWNER}/shop", f"{OWNER}/site"]
    words = narrow.refused("github_list_issues", repository=f"{OWNER}/vault")
    assert words.startswith(f"account_denied: This account may not be used for {OWNER}/vault. It may for: ")
    agent_id = str(_agent_of(narrow, acme))
    change_account(acme.owner, row.id, {"settings": {"agent_repositories": {agent_id: [f"{OWNER}/site"]}}})
    assert narrow("github_list_repositories")["repositories"] == [f"{OWNER}/site"]
    before = len(server.calls.all())
    for path in ("shop", "..", "shop/../vault"):
        refused = narrow.raw("github_list_issues", repository=f"{OWNER}/{path}")
        assert refused["isError"], path
    assert len(server.calls.all()) == before
    assert calling(gateway, acme, "github")("github_list_issues", **SHOP)["issues"] == []


def _agent_of(caller: Caller, acme):
    return all_tenants_find_task_token(caller.token, "mcp:github").task.agent_id


def test_an_allowed_repository_that_the_app_cannot_see_is_said_to_be_so(gateway, acme, server):
    connect(acme, repositories=[f"{OWNER}/vault", "globex/shop"])
    github = calling(gateway, acme, "github")
    for name in (f"{OWNER}/vault", "globex/shop"):
        words = github.refused("github_list_issues", repository=name)
        assert words.startswith(
            ("account_denied:", "account_refused: The app is not installed for globex/shop")
        )
    server.permissions["issues"] = "read"
    connect_words = github.refused("github_list_issues", repository=f"{OWNER}/vault")
    assert "where the app is installed" in connect_words


def test_issues_are_listed_in_pages_read_opened_labelled_and_closed(github, server):
    for number in range(5):
        server.add_issue("shop", f"Issue {number}", "x" * 25_000, ("bug",) if number % 2 else ())
    server.add_pull("shop", "A change", {})
    first = github("github_list_issues", **SHOP, limit=4)
    assert [issue["title"] for issue in first["issues"]] == ["Issue 4", "Issue 3", "Issue 2"]
    rest = github("github_list_issues", **SHOP, limit=4, page=first["next_page"])
    assert ([issue["title"] for issue in rest["issues"]], rest["next_page"]) == (["Issue 1", "Issue 0"], None)
    assert len(github("github_list_issues", **SHOP, labels=["bug"])["issues"]) == 2
    made = github("github_create_issue", **SHOP, title="Cup leaks", body="Drip.", labels=["bug"])
    number = made["number"]
    github("github_comment", **SHOP, number=number, body="I see it too.")
    assert github("github_label", **SHOP, number=number, add=["kitchen"], remove=["bug", "none"])[
        "labels"
    ] == ["kitchen"]
    read = github("github_get_issue", **SHOP, number=number)
    assert (read["body"], read["comments"][0]["body"], read["issue"]["labels"]) == (
        "Drip.",
        "I see it too.",
        ["kitchen"],
    )
    assert github("github_get_issue", **SHOP, number=1)["is_cut"] is True
    closed = github("github_set_issue_state", **SHOP, number=number, state="closed", reason="not_planned")
    assert (closed["state"], server.repos[f"{OWNER}/shop"].issues[number]["state_reason"]) == (
        "closed",
        "not_planned",
    )
    assert github("github_set_issue_state", **SHOP, number=number, state="open")["state"] == "open"
    assert github.refused("github_get_issue", **SHOP, number=999).startswith("item_not_found:")


def test_pull_requests_are_read_opened_and_reviewed(github, server):
    patch = "\n".join(f"+line {number}" for number in range(3_000))
    number = server.add_pull("shop", "Faster", {"a.py": patch, "b.py": "@@ -1 +1 @@"})
    assert [pull["title"] for pull in github("github_list_pull_requests", **SHOP)["pull_requests"]] == [
        "Faster"
    ]
    files = github("github_list_pull_request_files", **SHOP, number=number, limit=1)
    assert (files["files"][0]["is_cut"], files["next_page"]) == (True, 2)
    got, start = "", 0
    while start is not None:
        part = github("github_get_pull_request_diff", **SHOP, number=number, start=start)
        got, start = got + part["diff"], part["next_start"]
    assert got == f"diff --git a/a.py\n{patch}\ndiff --git a/b.py\n@@ -1 +1 @@"
    comment = {"path": "a.py", "line": 3, "body": "Why?"}
    github(
        "github_review_pull_request",
        **SHOP,
        number=number,
        event="REQUEST_CHANGES",
        body="See.",
        comments=[comment],
    )
    assert server.repos[f"{OWNER}/shop"].reviews[number][0]["comments"] == [comment | {"side": "RIGHT"}]
    read = github("github_get_pull_request", **SHOP, number=number)
    assert [review["body"] for review in read["reviews"]] == ["[CHANGES_REQUESTED] See."]
    wrong = {"path": "zz.py", "line": 1, "body": "?"}
    words = github.refused(
        "github_review_pull_request", **SHOP, number=number, event="COMMENT", body="x", comments=[wrong]
    )
    assert words.startswith(
        "account_refused: GitHub refuses the request: Validation Failed Path could not be resolved"
    )
    assert "give a `body`" in github.refused(
        "github_review_pull_request", **SHOP, number=number, event="COMMENT"
    )
    made = github(
        "github_create_pull_request", **SHOP, title="New", head="feature", base="main", is_draft=True
    )
    assert (
        github("github_get_pull_request", **SHOP, number=made["number"])["pull_request"]["is_draft"] is True
    )


def test_merging_is_for_accounts_that_allow_it_and_for_the_commit_that_was_read(
    gateway, acme, server, account
):
    github = calling(gateway, acme, "github")
    number = server.add_pull("shop", "Faster", {})
    sha = github("github_get_pull_request", **SHOP, number=number)["pull_request"]["head_sha"]
    held = github.refused("github_merge_pull_request", **SHOP, number=number, head_sha=sha)
    assert held.startswith("approval_pending:")
    allow(acme, "github.github_merge_pull_request")
    words = github.refused("github_merge_pull_request", **SHOP, number=number, head_sha=sha)
    assert words.startswith("account_denied: The account is set not to merge.")
    change_account(acme.owner, account.id, {"settings": {"may_merge": True}})
    stale = github.refused("github_merge_pull_request", **SHOP, number=number, head_sha="0" * 40)
    assert "Head branch was modified" in stale
    assert github("github_merge_pull_request", **SHOP, number=number, head_sha=sha)["is_merged"] is True
    assert ([f"{OWNER}/shop"], {"contents": "write", "pull_requests": "write"}) in minted(server)


def test_an_account_for_reading_changes_nothing(gateway, acme, server):
    connect(acme, may_write=False)
    allow(acme, "github.*")
    github = calling(gateway, acme, "github")
    server.add_issue("shop", "Tea is cold")
    number = server.add_pull("shop", "Faster", {})
    calls = {
        "github_create_issue": {"title": "a", "body": "b"},
        "github_comment": {"number": 1, "body": "b"},
        "github_label": {"number": 1, "add": ["bug"]},
        "github_set_issue_state": {"number": 1, "state": "closed"},
        "github_create_pull_request": {"title": "a", "head": "a", "base": "b"},
        "github_review_pull_request": {"number": number, "event": "APPROVE"},
        "github_merge_pull_request": {"number": number, "head_sha": "0" * 40},
    }
    for tool, given in calls.items():
        assert "is set to reading" in github.refused(tool, **SHOP, **given), tool
    assert not server.calls.all()
    assert github("github_get_issue", **SHOP, number=1)["issue"]["title"] == "Tea is cold"


def test_files_and_code_are_read_and_searched_in_one_repository(github, server):
    shop = server.repos[f"{OWNER}/shop"]
    shop.files = {"src/tea.py": "def brew():\n    return 'tea'\n", "big.txt": "y" * 30_000}
    server.add_issue("shop", "Tea is cold", "Very cold.")
    server.add_issue("site", "Tea page is down")
    assert github("github_read_file", **SHOP, path="src/tea.py")["text"] == shop.files["src/tea.py"]
    part = github("github_read_file", **SHOP, path="big.txt", start=20_000)
    assert (len(part["text"]), part["next_start"]) == (10_000, None)
    assert "folder" in github.refused("github_read_file", **SHOP, path="src")
    assert github.refused("github_read_file", **SHOP, path="../../user").startswith("invalid:")
    found = github("github_search_issues", **SHOP, query="is:issue tea")
    assert [issue["title"] for issue in found["issues"]] == ["Tea is cold"]
    assert [file["path"] for file in github("github_search_code", **SHOP, query="brew")["files"]] == [
        "src/tea.py"
    ]
    for query in (f"repo:{OWNER}/vault x", "x ORG:globex", "-user:octocat x"):
        assert "leave out repo:" in github.refused("github_search_code", **SHOP, query=query)


def test_what_has_not_changed_is_not_sent_again(github, server):
    server.add_issue("shop", "Tea is cold")
    first = github("github_list_issues", **SHOP)
    assert github("github_list_issues", **SHOP) == first
    etags = [call["etag"] for call in server.calls.all()]
    assert etags[0] is None
    assert etags[1] is not None
    server.add_issue("shop", "Milk is sour")
    assert len(github("github_list_issues", **SHOP)["issues"]) == 2


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("secondary", "account_throttled: GitHub wants fewer calls. Try again in 30 seconds."),
        ("primary", "account_throttled: GitHub wants fewer calls. Try again in "),
        ("moved", "item_not_found: The repository was renamed or moved."),
        ("garbage", "account_refused:"),
        ("error", "account_unreachable:"),
    ],
)
def test_what_github_refuses_is_said_in_words_and_ends_nothing(github, server, account, how, words):
    server.faults.plan(Fault(how, method="issues", retry_after_s=30))
    assert github.refused("github_list_issues", **SHOP).startswith(words)
    if how in ("secondary", "primary"):
        server.faults.plan(Fault(how, method="mint", retry_after_s=30))
        assert github.refused("github_get_repository", **SHOP).startswith(words)
    assert stored(account).status == "ok"
    assert github("github_list_issues", **SHOP)["issues"] == []


@pytest.mark.parametrize("how", ["suspended", "another key"])
def test_an_app_that_is_suspended_or_has_another_key_fails_closed(acme, github, server, account, how):
    if how == "suspended":
        server.is_suspended = True
    else:
        server.key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    with recorded() as seen:
        words = github.refused("github_list_issues", **SHOP)
    assert words.startswith("account_unauthorised: GitHub does not let the app in:")
    assert "in the dashboard under Accounts, acme." in words
    assert seen.change_types == ["integration.changed"]
    assert seen.event_types == ["notification.created"]
    assert stored(account).status == "unauthorised"
    assert github.refused("github_list_issues", **SHOP).startswith("account_unauthorised:")
    assert check_account(acme.owner, account.id).status == "unauthorised"


def test_neither_the_key_nor_a_token_is_in_a_result_or_an_event(acme, gateway, server):
    with recorded() as seen:
        row = connect(acme)
        github = calling(gateway, acme, "github")
        results = [github.raw("github_list_issues", **SHOP), github.raw("github_list_repositories")]
    text = json.dumps(
        [results, [event.data for event in (*seen.events, *seen.changes)], stored(row).settings]
    )
    assert "PRIVATE KEY" not in text
    assert not [token for token in server.tokens if token in text]


def test_others_find_nothing(gateway, acme, globex, account):
    for caller in (
        calling(gateway, globex, "github"),
        calling(gateway, acme, "github", who=acme.people["bob"]),
    ):
        words = caller.refused("github_list_issues", **SHOP, account="acme")
        assert words.startswith("account_not_connected:")


@pytest.mark.parametrize(
    ("settings", "credentials", "named"),
    [
        ({"repositories": ["shop"]}, {}, "settings.repositories"),
        ({"repositories": ["acme/.."]}, {}, "settings.repositories"),
        ({"repositories": []}, {}, "settings.repositories"),
        ({"installation_id": 0}, {}, "settings.installation_id"),
        ({}, {"private_key": "hush"}, "credentials.private_key"),
        ({}, {"private_key": ""}, "credentials.private_key"),
    ],
)
def test_settings_and_keys_that_cannot_be_are_refused_without_being_repeated(settings, credentials, named):
    given = {"private_key": private_key()} | credentials
    with pytest.raises(ConfigInvalid) as refused:
        checked_new(
            kind="github",
            name="a",
            settings=SETTINGS | settings,
            credentials=given,
            agent_ids=None,
            is_personal=True,
        )
    assert any(name.startswith(named) for name in refused.value.details["fields"])
    assert "hush" not in str(refused.value.details)
