"""GitHub as a chat sees it: comments with ids and their authors, reactions, signed events, and its deliveries."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.github_server import APP_SLUG, INSTALLATION, OWNER, GithubServer, Repo
from tests.fakes.serving import Fault, Faults, Journal

JSON = dict[str, Any]
BOT_ID = 41898282
MAX_BODY = 65_536
PERSON = {"login": "bob", "id": 501, "type": "User"}
BOT = {"login": f"{APP_SLUG}[bot]", "id": BOT_ID, "type": "Bot"}
REACTIONS = {"+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"}


def sign(body: bytes, secret: str, event: str, guid: str) -> dict[str, str]:
    """Make the headers with which GitHub sends an event."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "content-type": "application/json",
        "x-github-event": event,
        "x-github-delivery": guid,
        "x-github-hook-installation-target-type": "integration",
        "x-hub-signature-256": f"sha256={digest}",
    }


class _AfterToken(Faults):
    """Faults that are met by what a token is for, and not when it is asked for."""

    def take(self, method: str) -> Fault | None:
        return None if method == "mint" else super().take(method)


class GithubChatServer(GithubServer):
    """A GitHub whose issues people and the app talk in. `sent` has the app's comments, `reactions` what it added."""

    def __init__(self) -> None:
        self.sent, self.reactions = Journal(), Journal()
        self.comments: dict[tuple[str, int], JSON] = {}
        self.subscription: tuple[str, str] | None = None
        self.hook_url = ""
        self.deliveries: list[JSON] = []
        self._ids = itertools.count(1_000)
        self._reacted: set[tuple[str, int, str]] = set()
        super().__init__()
        self.faults = _AfterToken()

    # --- What people do ----------------------------------------------------------------------------------

    def subscribe(self, url: str, secret: str) -> None:
        """Send events to this address, as the app's settings say."""
        self.subscription, self.hook_url = (url, secret), url

    def event(self, name: str, repo: str, number: int, **fields: Any) -> JSON:
        """Make an event about an issue or a pull request."""
        issue = self.repos[f"{OWNER}/{repo}"].issues[number] | {"user": PERSON, "created_at": _now()}
        key = "pull_request" if name.startswith("pull_request") else "issue"
        return {
            "sender": PERSON,
            "repository": {"full_name": f"{OWNER}/{repo}", "id": 1},
            "installation": {"id": INSTALLATION},
            key: issue,
        } | fields

    def comment_event(self, repo: str, number: int, text: str, **fields: Any) -> JSON:
        """Make the event of a comment that somebody writes, which is kept as well."""
        comment = self._keep(f"{OWNER}/{repo}", "comment", number, text, PERSON) | fields
        return self.event("issue_comment", repo, number, action="created", comment=comment)

    def deliver(self, name: str, event: JSON, guid: str | None = None) -> httpx.Response:
        """Post an event, signed, to the app's webhook, and keep what became of it."""
        if self.subscription is None:
            raise LookupError("nothing is subscribed")
        url, secret = self.subscription
        guid = guid or str(uuid.uuid4())
        body = json.dumps(event).encode()
        headers = sign(body, secret, name, guid)
        answer = httpx.post(url, content=body, headers=headers, timeout=10)
        self.record_delivery(name, event, guid, answer.status_code)
        return answer

    def record_delivery(self, name: str, event: JSON, guid: str, status: int) -> None:
        """Keep a delivery, as one that was made."""
        self.deliveries.append(
            {
                "id": next(self._ids), "guid": guid, "event": name, "status_code": status, "delivered_at": _now(),
                "installation_id": event["installation"]["id"], "redelivery": False, "status": "x",
                "request": {"headers": {"X-GitHub-Event": name, "X-GitHub-Delivery": guid}, "payload": event},
            }
        )  # fmt: skip

    # --- The API -----------------------------------------------------------------------------------------

    def _more_routes(self) -> list[Route]:
        return [
            Route("/users/{login}", self._user),
            Route("/app/hook/config", self._hook_config),
            Route("/app/hook/deliveries", self._list_deliveries),
            Route("/app/hook/deliveries/{delivery:int}", self._delivery),
        ]

    def _table(self, one: str) -> list[tuple[str, str, str, dict[str, str], Any]]:
        issues, pulls = {"issues": "write"}, {"pull_requests": "write"}
        numbered, threads = f"{one}/issues/{{number:int}}", f"{one}/pulls/{{number:int}}/comments"
        return [
            ("GET", f"{numbered}/comments", "comments", issues, self._list_issue_comments),
            ("POST", f"{numbered}/comments", "comment", issues, self._write_comment),
            ("POST", f"{numbered}/reactions", "react", issues, self._react_to_issue),
            ("PATCH", f"{one}/issues/comments/{{id:int}}", "edit", issues, self._edit_comment),
            ("DELETE", f"{one}/issues/comments/{{id:int}}", "delete", issues, self._delete_comment),
            ("POST", f"{one}/issues/comments/{{id:int}}/reactions", "react", issues, self._react_to_comment),
            ("GET", threads, "review_comments", pulls, self._list_review_comments),
            ("POST", threads, "review_comment", pulls, self._write_review_comment),
            ("PATCH", f"{one}/pulls/comments/{{id:int}}", "edit", pulls, self._edit_comment),
            ("DELETE", f"{one}/pulls/comments/{{id:int}}", "delete", pulls, self._delete_comment),
            ("POST", f"{one}/pulls/comments/{{id:int}}/reactions", "react", pulls, self._react_to_comment),
            *super()._table(one),
        ]

    async def _user(self, request: Request) -> Response:
        is_bot = request.path_params["login"] == BOT["login"]
        return JSONResponse(BOT) if is_bot else _error(404, "Not Found")

    async def _hook_config(self, request: Request) -> Response:
        return self._app_refusal(request) or JSONResponse({"url": self.hook_url, "content_type": "json"})

    async def _list_deliveries(self, request: Request) -> Response:
        """Give the newest first, without what was sent, in pages by cursor."""
        refusal = self._app_refusal(request)
        if refusal is not None:
            return refusal
        size, start = (
            int(request.query_params.get("per_page", 30)),
            int(request.query_params.get("cursor", 0)),
        )
        newest = self.deliveries[::-1]
        shown = [{name: each[name] for name in each if name != "request"} for each in newest]
        answer = JSONResponse(shown[start : start + size])
        if start + size < len(shown):
            following = request.url.include_query_params(cursor=start + size)
            answer.headers["Link"] = f'<{following}>; rel="next"'
        return answer

    async def _delivery(self, request: Request) -> Response:
        refusal = self._app_refusal(request)
        found = [each for each in self.deliveries if each["id"] == request.path_params["delivery"]]
        return refusal or (JSONResponse(found[0]) if found else _error(404, "Not Found"))

    def _list_issue_comments(self, request: Request, repo: Repo, body: Any) -> Response:
        return self._listed(request, "comment")

    def _list_review_comments(self, request: Request, repo: Repo, body: Any) -> Response:
        return self._listed(request, "review_comment")

    def _listed(self, request: Request, kind: str) -> Response:
        since = request.query_params.get("since", "")
        found = [
            comment
            for (name, _), comment in self.comments.items()
            if name == self._repo_of(request)
            and (comment["kind"], comment["number"]) == (kind, request.path_params["number"])
            and comment["updated_at"] >= since
        ]
        return self._paged(request, found)

    def _write_comment(self, request: Request, repo: Repo, body: Any) -> Response:
        return self._written(request, repo, "comment", body)

    def _write_review_comment(self, request: Request, repo: Repo, body: Any) -> Response:
        answered = self.comments.get((self._repo_of(request), int(body.get("in_reply_to", 0))))
        if answered is None or answered["kind"] != "review_comment" or "in_reply_to_id" in answered:
            return _error(422, "Validation Failed")
        return self._written(request, repo, "review_comment", body, in_reply_to_id=answered["id"])

    def _written(self, request: Request, repo: Repo, kind: str, body: Any, **more: Any) -> Response:
        number, text = request.path_params["number"], body.get("body", "")
        if number not in repo.issues:
            return _error(404, "Not Found")
        if not text.strip() or len(text) > MAX_BODY:
            return _error(422, "Validation Failed: body is too long (maximum is 65536 characters)")
        made = self._keep(self._repo_of(request), kind, number, text, BOT, **more)
        self.sent.add(made)
        return JSONResponse(made, 201)

    def review_comment(self, repo: str, number: int, text: str) -> JSON:
        """Let somebody comment on a line of a pull request."""
        place = {"path": "shop.py", "line": 3, "diff_hunk": "@@ -1,3 +1,3 @@\n-tea\n+coffee"}
        return self._keep(f"{OWNER}/{repo}", "review_comment", number, text, PERSON, **place)

    def _keep(self, name: str, kind: str, number: int, text: str, author: JSON, **more: Any) -> JSON:
        made = {
            "id": next(self._ids), "kind": kind, "number": number, "body": text, "user": author,
            "created_at": _now(), "updated_at": _now(), **more,
        }  # fmt: skip
        self.comments[name, made["id"]] = made
        return made

    def _edit_comment(self, request: Request, repo: Repo, body: Any) -> Response:
        found = self.comments.get((self._repo_of(request), request.path_params["id"]))
        if found is None:
            return _error(404, "Not Found")
        found |= {"body": body["body"], "updated_at": _now()}
        return JSONResponse(found)

    def _delete_comment(self, request: Request, repo: Repo, body: Any) -> Response:
        found = self.comments.pop((self._repo_of(request), request.path_params["id"]), None)
        return Response(status_code=204) if found is not None else _error(404, "Not Found")

    def _react_to_comment(self, request: Request, repo: Repo, body: Any) -> Response:
        is_there = (self._repo_of(request), request.path_params["id"]) in self.comments
        return self._reacted_to(request, "comment", request.path_params["id"], body, is_there=is_there)

    def _react_to_issue(self, request: Request, repo: Repo, body: Any) -> Response:
        number = request.path_params["number"]
        return self._reacted_to(request, "issue", number, body, is_there=number in repo.issues)

    def _reacted_to(self, request: Request, kind: str, number: int, body: Any, *, is_there: bool) -> Response:
        if not is_there:
            return _error(404, "Not Found")
        if body.get("content") not in REACTIONS:
            return _error(422, "Validation Failed")
        key = (kind, number, body["content"])
        is_new = key not in self._reacted
        self._reacted.add(key)
        if is_new:
            self.reactions.add({"on": f"{kind}:{number}", "content": body["content"]})
        return JSONResponse({"id": 1, "content": body["content"]}, 201 if is_new else 200)


def _now() -> str:
    return (datetime.now(UTC) - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _error(status: int, message: str) -> Response:
    return JSONResponse({"message": message, "documentation_url": "https://docs.github.com/rest"}, status)
