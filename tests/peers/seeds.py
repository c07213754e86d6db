"""What is there at the emulated platforms before a test begins: Acme's people, channel, repository, team and bots."""

from __future__ import annotations

from typing import Any

from tests.fakes.github_server import private_key

SECRET = "a-secret-of-the-webhook"
BOB, BOT = "U0BOB00001", "U0SLIP0001"
INSTALLATION_ID, APP_ID = 4711, "12345"
LINEAR_CLIENT = ("lin-client-slipway", "a-secret-of-the-client")
BOB_AT_GITHUB, BOB_AT_SLACK, BOB_AT_LINEAR = "ghp_bob", "xoxp-bob-1", "lin_api_bob_0001"
BOT_AT_SLACK, BOT_AT_LINEAR = "xoxb-slipway-1", "lin_api_slipway_0001"


def seeds(github_hook: str) -> dict[str, dict[str, Any]]:
    """Return what each emulator begins with; the app of GitHub is installed, and its webhook is at this address."""
    return {"github": _github(github_hook), "slack": _slack(), "linear": _linear()}


def _github(hook_url: str) -> dict[str, Any]:
    rights = {"issues": "write", "pull_requests": "write", "metadata": "read"}
    events = ["issues", "issue_comment", "pull_request", "pull_request_review", "pull_request_review_comment"]
    installation = {"installation_id": INSTALLATION_ID, "account": "acme", "repository_selection": "all"}
    app = {
        "app_id": int(APP_ID),
        "slug": "acme-agents",
        "name": "Acme agents",
        "private_key": private_key(),
        "permissions": rights,
        "events": events,
        "webhook_url": hook_url,
        "webhook_secret": SECRET,
        "installations": [installation],
    }
    github = {
        "users": [{"login": "bob", "name": "Bob", "email": "bob@example.com"}],
        "orgs": [{"login": "acme", "name": "Acme", "members": [{"login": "bob", "role": "admin"}]}],
        "repos": [{"owner": "acme", "name": "shop", "auto_init": True}],
        "apps": [app],
    }
    return {"tokens": {BOB_AT_GITHUB: {"login": "bob", "scopes": ["repo"]}}, "github": github}


def _slack() -> dict[str, Any]:
    app = {
        "client_id": "1.2",
        "client_secret": "x",
        "name": "slipway",
        "bot_user_id": BOT,
        "bot_id": "B0SLIP0001",
    }
    slack = {
        "signing_secret": SECRET,
        "team": {"name": "Acme", "domain": "acme"},
        "channels": [{"name": "general"}],
        "oauth_apps": [app],
        "strict_scopes": False,
    }
    tokens = {BOT_AT_SLACK: {"login": BOT, "scopes": []}, BOB_AT_SLACK: {"login": BOB, "scopes": []}}
    return {"tokens": tokens, "slack": slack}


def _linear() -> dict[str, Any]:
    scopes = ["read", "write", "admin"]
    app = {
        "client_id": LINEAR_CLIENT[0],
        "client_secret": LINEAR_CLIENT[1],
        "name": "robot",
        "redirect_uris": [],
        "scopes": [*scopes, "app:mentionable", "app:assignable"],
        "actor": "app",
        "mentionable": True,
        "assignable": True,
    }
    linear = {
        "organization": {"name": "Acme", "url_key": "acme"},
        "users": [
            {"email": "bob@example.com", "name": "Bob", "admin": True},
            {"email": "s@example.com", "name": "slipway"},
        ],
        "teams": [{"key": "ENG", "name": "Engineering", "states": [{"name": "Todo", "type": "unstarted"}]}],
        "issues": [{"team": "ENG", "title": "Login fails", "state": "Todo"}],
        "oauth_apps": [app],
        "tokens": [
            {"token": BOB_AT_LINEAR, "user": "bob@example.com", "scopes": scopes},
            {"token": BOT_AT_LINEAR, "user": "s@example.com", "scopes": scopes},
        ],
        "strict_scopes": False,
    }
    return {"linear": linear}
