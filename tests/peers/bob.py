"""Bob, who uses the emulated platforms as people do, with tokens of his own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from tests.peers.seeds import BOB_AT_GITHUB, BOB_AT_LINEAR, BOB_AT_SLACK

CREATE_COMMENT = "mutation($input: CommentCreateInput!) { commentCreate(input: $input) { comment { id } } }"
_CREATE_WEBHOOK = "mutation($input: WebhookCreateInput!) { webhookCreate(input: $input) { success } }"


class Bob:
    """What he does at the emulators with these addresses."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses

    def at_github(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Read something at GitHub, or with a body make it."""
        answer = httpx.request(
            "GET" if body is None else "POST",
            f"{self._addresses['github']}{path}",
            json=body,
            headers={"Authorization": f"Bearer {BOB_AT_GITHUB}"},
            timeout=10,
        )
        assert answer.is_success, answer.text
        return answer.json()

    def at_linear(self, query: str, **variables: Any) -> Any:
        """Ask or change something at Linear; returns its `data`."""
        answer = httpx.post(
            f"{self._addresses['linear']}/graphql",
            json={"query": query, "variables": variables},
            headers={"Authorization": BOB_AT_LINEAR},
            timeout=10,
        ).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def adds_webhook_at_linear(self, url: str, secret: str, *kinds: str) -> None:
        """Have Linear tell of things."""
        hook = {"url": url, "resourceTypes": kinds, "allPublicTeams": True, "secret": secret}
        self.at_linear(_CREATE_WEBHOOK, input=hook)

    def find_issue_at_linear(self) -> str:
        """Return the id of the first issue."""
        found = self.at_linear("query { issues { nodes { id } } }")["issues"]["nodes"][0]["id"]
        return str(found)

    def at_slack(self, method: str, **fields: str) -> Any:
        """Call a method of Slack's."""
        answer = httpx.post(
            f"{self._addresses['slack']}/api/{method}",
            data=fields,
            headers={"Authorization": f"Bearer {BOB_AT_SLACK}"},
            timeout=10,
        ).json()
        assert answer["ok"], answer
        return answer

    def find_channel_at_slack(self) -> str:
        """Return the id of the first channel."""
        return str(self.at_slack("conversations.list")["channels"][0]["id"])
