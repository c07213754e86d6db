"""GitHub's REST API as an app sees it: signed app tokens, installation tokens for a repository, strict about both."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.fakes.serving import BrokenConnection, Faults, Journal, LocalServer

APP_ID = "Iv23liTestApp"
INSTALLATION = 4711
APP_SLUG = "acme-agents"
OWNER = "acme"
_LEVELS = {"read": 1, "write": 2}
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_key(key: rsa.RSAPrivateKey = _KEY) -> str:
    """Return a key as the PEM file that GitHub gives."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


@dataclass
class Grant:
    """What a token is good for."""

    repositories: frozenset[str]
    permissions: dict[str, str]
    until: float


@dataclass
class Repo:
    """A repository's content."""

    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    reviews: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    changes: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def number(self) -> int:
        """Return the next number; issues and pull requests share them."""
        return len(self.issues) + 1


class GithubServer:
    """One installation. `calls` is what it was asked, `minted` the tokens it gave; the next calls meet `faults`."""

    def __init__(self) -> None:
        self.calls, self.minted, self.faults = Journal(), Journal(), Faults()
        self.repos = {f"{OWNER}/shop": Repo(), f"{OWNER}/site": Repo(), f"{OWNER}/vault": Repo()}
        self.installed = {f"{OWNER}/shop", f"{OWNER}/site"}
        self.permissions = {
            "metadata": "read",
            "contents": "write",
            "issues": "write",
            "pull_requests": "write",
        }
        self.events = [
            "issues", "issue_comment", "pull_request", "pull_request_review", "pull_request_review_comment",
        ]  # fmt: skip
        self.key: Any = _KEY.public_key()
        self.is_suspended = False
        self.token_life = timedelta(hours=1)
        self.tokens: dict[str, Grant] = {}
        self.server = LocalServer(
            Starlette(
                routes=[
                    Route("/app/installations/{id:int}", self._installation),
                    Route("/app/installations/{id:int}/access_tokens", self._mint, methods=["POST"]),
                    *self._more_routes(),
                    *(
                        Route(path, self._answered(what, needs, answer), methods=[method])
                        for method, path, what, needs, answer in self._table("/repos/{owner}/{repo}")
                    ),
                ]
            )
        )

    def _more_routes(self) -> list[Route]:
        """Return what else is there, for a server that knows more."""
        return []

    def _table(self, one: str) -> list[tuple[str, str, str, dict[str, str], Any]]:
        """Return method, path, name, the rights that it needs, and what answers; `one` is the path of a repository."""
        return [
            ("GET", one, "repo", {"metadata": "read"}, self._repo),
            ("GET", f"{one}/contents/{{path:path}}", "contents", {"contents": "read"}, self._contents),
            ("GET", f"{one}/issues", "issues", {"issues": "read"}, self._issues),
            ("POST", f"{one}/issues", "create_issue", {"issues": "write"}, self._create_issue),
            ("GET", f"{one}/issues/{{number:int}}", "issue", {"issues": "read"}, self._issue),
            ("PATCH", f"{one}/issues/{{number:int}}", "patch_issue", {"issues": "write"}, self._patch_issue),
            ("GET", f"{one}/issues/{{number:int}}/comments", "comments", {"issues": "read"}, self._comments),
            ("POST", f"{one}/issues/{{number:int}}/comments", "comment", {"issues": "write"}, self._comment),
            ("GET", f"{one}/issues/{{number:int}}/labels", "labels", {"issues": "read"}, self._labels),
            ("POST", f"{one}/issues/{{number:int}}/labels", "add", {"issues": "write"}, self._add_labels),
            (
                "DELETE",
                f"{one}/issues/{{number:int}}/labels/{{label}}",
                "take",
                {"issues": "write"},
                self._take,
            ),
            ("GET", f"{one}/pulls", "pulls", {"pull_requests": "read"}, self._pulls),
            ("POST", f"{one}/pulls", "create_pull", {"pull_requests": "write"}, self._create_pull),
            ("GET", f"{one}/pulls/{{number:int}}", "pull", {"pull_requests": "read"}, self._pull),
            ("GET", f"{one}/pulls/{{number:int}}/files", "files", {"pull_requests": "read"}, self._files),
            (
                "GET",
                f"{one}/pulls/{{number:int}}/reviews",
                "reviews",
                {"pull_requests": "read"},
                self._reviews,
            ),
            (
                "POST",
                f"{one}/pulls/{{number:int}}/reviews",
                "review",
                {"pull_requests": "write"},
                self._review,
            ),
            ("PUT", f"{one}/pulls/{{number:int}}/merge", "merge", {"contents": "write"}, self._merge),
            ("GET", "/search/issues", "search", {"issues": "read"}, self._search_issues),
            ("GET", "/search/code", "search", {"contents": "read"}, self._search_code),
        ]

    @property
    def url(self) -> str:
        """Where the API is."""
        return self.server.url

    def add_issue(self, repo: str, title: str, body: str = "", labels: tuple[str, ...] = ()) -> int:
        """Put an issue into a repository."""
        stored = self.repos[f"{OWNER}/{repo}"]
        number = stored.number()
        stored.issues[number] = self._new(repo, number, title, body, list(labels))
        return number

    def add_pull(self, repo: str, title: str, files: dict[str, str]) -> int:
        """Put a pull request into a repository; `files` are patches by path."""
        stored = self.repos[f"{OWNER}/{repo}"]
        number = self.add_issue(repo, title)
        stored.issues[number]["pull_request"] = {"url": "x"}
        stored.pulls[number] = self._pull_of(stored.issues[number], "feature", "main", is_draft=False)
        stored.changes[number] = [
            {"filename": path, "status": "modified", "additions": 1, "deletions": 1, "patch": patch}
            for path, patch in files.items()
        ]
        return number

    def _new(self, repo: str, number: int, title: str, body: str, labels: list[str]) -> dict[str, Any]:
        return {
            "number": number, "title": title, "body": body, "state": "open", "user": {"login": "octocat"},
            "labels": [{"name": label} for label in labels], "comments": 0, "updated_at": "2026-11-01T10:00:00Z",
            "html_url": f"https://github.example/{OWNER}/{repo}/issues/{number}",
        }  # fmt: skip

    def _pull_of(self, issue: dict[str, Any], head: str, base: str, *, is_draft: bool) -> dict[str, Any]:
        sha = hashlib.sha1(f"{issue['number']}".encode(), usedforsecurity=False).hexdigest()
        return {
            **{name: issue[name] for name in ("number", "title", "body", "state", "user", "updated_at", "html_url")},
            "head": {"ref": head, "sha": sha}, "base": {"ref": base}, "draft": is_draft, "mergeable": True,
            "merged_at": None, "additions": 1, "deletions": 1, "changed_files": 1,
        }  # fmt: skip

    # --- who asks ------------------------------------------------------------------------------------

    def _app_refusal(self, request: Request) -> Response | None:
        """Check what shows who the app is: RS256, its own name, at most ten minutes, not from the future."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            if scheme != "Bearer":
                raise jwt.InvalidTokenError("not a bearer token")
            claims = jwt.decode(
                token,
                self.key,
                algorithms=["RS256"],
                issuer=APP_ID,
                options={"require": ["iat", "exp", "iss"]},
            )
            if claims["exp"] > time.time() + 600 or claims["iat"] > time.time():
                raise jwt.InvalidTokenError("'Expiration time' claim ('exp') is too far in the future")
        except jwt.InvalidTokenError as error:
            return _error(401, f"A JSON web token could not be decoded: {error}")
        if request.path_params.get("id", INSTALLATION) != INSTALLATION:
            return _error(404, "Not Found")
        if self.is_suspended:
            return _error(403, "This installation has been suspended")
        return None

    async def _installation(self, request: Request) -> Response:
        refusal = self._app_refusal(request)
        found = {"id": INSTALLATION, "app_slug": APP_SLUG, "account": {"login": OWNER}} | {
            "permissions": self.permissions, "events": self.events, "suspended_at": None,
        }  # fmt: skip
        return refusal or JSONResponse(found)

    async def _mint(self, request: Request) -> Response:
        fault = self.faults.take("mint")
        if fault is not None:
            return _fault(fault.how, fault.retry_after_s)
        refusal = self._app_refusal(request)
        if refusal is not None:
            return refusal
        asked = json.loads(await request.body())
        names = [f"{OWNER}/{name}" for name in asked.get("repositories", [])]
        rights = asked.get("permissions", {})
        if not names or not rights or not set(names) <= self.installed:
            return _error(422, "There is at least one repository that does not exist or is not accessible")
        if any(
            _LEVELS[level] > _LEVELS.get(self.permissions.get(name, ""), 0) for name, level in rights.items()
        ):
            return _error(422, "The permissions requested are not granted to this installation.")
        token, until = f"ghs_{secrets.token_hex(18)}", datetime.now(UTC) + self.token_life
        self.tokens[token] = Grant(frozenset(names), rights, until.timestamp())
        self.minted.add({"repositories": names, "permissions": rights})
        return JSONResponse(
            {
                "token": token,
                "expires_at": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "permissions": rights,
                "repository_selection": "selected",
                "repositories": [{"full_name": name} for name in names],
            },
            201,
        )

    def _answered(self, what: str, needs: dict[str, str], answer: Any) -> Any:
        async def endpoint(request: Request) -> Response:
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            self.calls.add({"what": what, "token": token, "etag": request.headers.get("if-none-match")})
            fault = self.faults.take(what)
            if fault is not None and fault.how != "drop":
                return _fault(fault.how, fault.retry_after_s)
            grant = self.tokens.get(token)
            if grant is None or grant.until < time.time():
                return _error(401, "Bad credentials")
            if "x-github-api-version" not in request.headers or "user-agent" not in request.headers:
                return _error(400, "Request forbidden by administrative rules.")
            name = self._repo_of(request)
            if name not in grant.repositories or name not in self.installed:
                return _error(404, "Not Found")
            if any(
                _LEVELS[level] > _LEVELS.get(grant.permissions.get(right, ""), 0)
                for right, level in needs.items()
            ):
                return _error(403, "Resource not accessible by integration")
            body = json.loads(await request.body() or b"null")
            result: Response = answer(request, self.repos[name], body)
            return BrokenConnection() if fault is not None else _tagged(request, result)

        return endpoint

    def _repo_of(self, request: Request) -> str:
        if "repo" in request.path_params:
            return f"{request.path_params['owner']}/{request.path_params['repo']}"
        found = re.findall(r"repo:(\S+)", request.query_params.get("q", ""))
        return found[0] if len(found) == 1 else ""

    # --- what is there -------------------------------------------------------------------------------

    def _repo(self, request: Request, repo: Repo, body: Any) -> Response:
        name = self._repo_of(request)
        return JSONResponse(
            {
                "full_name": name, "description": "Sells tea", "default_branch": "main", "private": True,
                "archived": False, "open_issues_count": len(repo.issues), "html_url": f"https://github.example/{name}",
            }
        )  # fmt: skip

    def _contents(self, request: Request, repo: Repo, body: Any) -> Response:
        path = request.path_params["path"]
        if path not in repo.files:
            folder = [name for name in repo.files if name.startswith(f"{path}/")]
            return JSONResponse([{"path": name, "type": "file"} for name in folder]) if folder else _missing()
        raw = repo.files[path].encode()
        encoded = base64.encodebytes(raw).decode()
        return JSONResponse(
            {
                "type": "file",
                "encoding": "base64",
                "size": len(raw),
                "content": encoded,
                "sha": "f" * 40,
                "path": path,
            }
        )

    def _issues(self, request: Request, repo: Repo, body: Any) -> Response:
        query = request.query_params
        wanted = set(filter(None, query.get("labels", "").split(",")))
        found = [
            issue
            for issue in reversed(repo.issues.values())
            if query.get("state", "open") in ("all", issue["state"])
            and wanted <= {label["name"] for label in issue["labels"]}
        ]
        return self._paged(request, found)

    def _create_issue(self, request: Request, repo: Repo, body: Any) -> Response:
        name = request.path_params["repo"]
        number = self.add_issue(name, body["title"], body["body"], tuple(body["labels"]))
        return JSONResponse(repo.issues[number], 201)

    def _issue(self, request: Request, repo: Repo, body: Any) -> Response:
        issue = repo.issues.get(request.path_params["number"])
        return JSONResponse(issue) if issue else _missing()

    def _patch_issue(self, request: Request, repo: Repo, body: Any) -> Response:
        issue = repo.issues.get(request.path_params["number"])
        if issue is None:
            return _missing()
        if body.get("state_reason") not in ("completed", "not_planned", "reopened"):
            return _invalid("state_reason is not valid")
        issue.update(state=body["state"], state_reason=body["state_reason"])
        return JSONResponse(issue)

    def _comments(self, request: Request, repo: Repo, body: Any) -> Response:
        return self._paged(request, repo.comments.get(request.path_params["number"], []))

    def _comment(self, request: Request, repo: Repo, body: Any) -> Response:
        number = request.path_params["number"]
        if number not in repo.issues:
            return _missing()
        said = repo.comments.setdefault(number, [])
        made = {"id": 100 + len(said), "body": body["body"], "user": {"login": "acme-agents[bot]"},
                "created_at": "2026-11-02T10:00:00Z", "html_url": f"https://github.example/c/{len(said)}"}  # fmt: skip
        said.append(made)
        repo.issues[number]["comments"] += 1
        return JSONResponse(made, 201)

    def _labels(self, request: Request, repo: Repo, body: Any) -> Response:
        issue = repo.issues.get(request.path_params["number"])
        return JSONResponse(issue["labels"]) if issue else _missing()

    def _add_labels(self, request: Request, repo: Repo, body: Any) -> Response:
        issue = repo.issues.get(request.path_params["number"])
        if issue is None:
            return _missing()
        known = {label["name"] for label in issue["labels"]}
        issue["labels"] += [{"name": name} for name in body["labels"] if name not in known]
        return JSONResponse(issue["labels"])

    def _take(self, request: Request, repo: Repo, body: Any) -> Response:
        issue = repo.issues.get(request.path_params["number"])
        label = {"name": request.path_params["label"]}
        if issue is None or label not in issue["labels"]:
            return _error(404, "Label does not exist")
        issue["labels"].remove(label)
        return JSONResponse(issue["labels"])

    def _pulls(self, request: Request, repo: Repo, body: Any) -> Response:
        wanted = request.query_params.get("state", "open")
        found = [pull for pull in reversed(repo.pulls.values()) if wanted in ("all", pull["state"])]
        return self._paged(request, found)

    def _create_pull(self, request: Request, repo: Repo, body: Any) -> Response:
        if body["head"] == body["base"]:
            return _invalid("No commits between main and main")
        number = self.add_pull(request.path_params["repo"], body["title"], {})
        repo.pulls[number].update(body=body["body"], draft=body["draft"])
        return JSONResponse(repo.pulls[number], 201)

    def _pull(self, request: Request, repo: Repo, body: Any) -> Response:
        number = request.path_params["number"]
        if number not in repo.pulls:
            return _missing()
        if request.headers["accept"] == "application/vnd.github.diff":
            patches = (f"diff --git a/{each['filename']}\n{each['patch']}" for each in repo.changes[number])
            return PlainTextResponse("\n".join(patches))
        return JSONResponse(repo.pulls[number])

    def _files(self, request: Request, repo: Repo, body: Any) -> Response:
        return self._paged(request, repo.changes.get(request.path_params["number"], []))

    def _reviews(self, request: Request, repo: Repo, body: Any) -> Response:
        return self._paged(request, repo.reviews.get(request.path_params["number"], []))

    def _review(self, request: Request, repo: Repo, body: Any) -> Response:
        number = request.path_params["number"]
        changed = {each["filename"] for each in repo.changes.get(number, [])}
        if any(comment["path"] not in changed for comment in body["comments"]):
            return _invalid("Path could not be resolved")
        states = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
        made = {"id": 7, "state": states[body["event"]], "body": body["body"], "user": {"login": "acme-agents[bot]"},
                "submitted_at": "2026-11-02T10:00:00Z", "html_url": "https://github.example/r/7"}  # fmt: skip
        repo.reviews.setdefault(number, []).append(made | {"comments": body["comments"]})
        return JSONResponse(made)

    def _merge(self, request: Request, repo: Repo, body: Any) -> Response:
        pull = repo.pulls.get(request.path_params["number"])
        if pull is None:
            return _missing()
        if body["sha"] != pull["head"]["sha"]:
            return _error(409, "Head branch was modified. Review and try the merge again.")
        pull.update(state="closed", merged_at="2026-11-02T10:00:00Z")
        return JSONResponse({"sha": "e" * 40, "merged": True, "message": "Pull Request successfully merged"})

    def _search_issues(self, request: Request, repo: Repo, body: Any) -> Response:
        words = [word for word in request.query_params["q"].split() if ":" not in word]
        found = [
            issue
            for issue in repo.issues.values()
            if all(word.lower() in f"{issue['title']} {issue['body']}".lower() for word in words)
        ]
        return self._paged(request, found, wrapped=True)

    def _search_code(self, request: Request, repo: Repo, body: Any) -> Response:
        words = [word for word in request.query_params["q"].split() if ":" not in word]
        found = [
            {"path": path, "sha": "f" * 40}
            for path, text in repo.files.items()
            if all(word.lower() in text.lower() for word in words)
        ]
        return self._paged(request, found, wrapped=True)

    def _paged(self, request: Request, found: list[Any], *, wrapped: bool = False) -> Response:
        size, page = int(request.query_params.get("per_page", 30)), int(request.query_params.get("page", 1))
        part = found[(page - 1) * size : page * size]
        body: Any = (
            {"total_count": len(found), "incomplete_results": False, "items": part} if wrapped else part
        )
        answer = JSONResponse(body)
        if page * size < len(found):
            following = request.url.include_query_params(page=page + 1)
            answer.headers["Link"] = f'<{following}>; rel="next", <{following}>; rel="last"'
        return answer

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()


def _tagged(request: Request, answer: Response) -> Response:
    """Give an answer its ETag, or say that it is the one that is known."""
    if request.method != "GET" or answer.status_code != 200:
        return answer
    etag = f'W/"{hashlib.sha256(bytes(answer.body)).hexdigest()}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    answer.headers["ETag"] = etag
    return answer


def _fault(how: str, retry_after_s: int) -> Response:
    match how:
        case "forbid":
            return _error(403, "Resource not accessible by integration")
        case "secondary" | "throttle":
            answer = _error(403, "You have exceeded a secondary rate limit. Please wait a few minutes.")
            answer.headers["Retry-After"] = str(retry_after_s)
            return answer
        case "primary":
            answer = _error(403, "API rate limit exceeded for installation ID 4711.")
            answer.headers.update(
                {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + retry_after_s)}
            )
            return answer
        case "moved":
            return Response(
                status_code=301, headers={"Location": "https://api.github.example/repositories/1"}
            )
        case "garbage":
            return PlainTextResponse("<html>")
    return _error(502, "Server Error")


def _missing() -> Response:
    return _error(404, "Not Found")


def _invalid(message: str) -> Response:
    errors = [{"resource": "PullRequest", "code": "custom", "message": message}]
    return JSONResponse({"message": "Validation Failed", "errors": errors}, 422)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"message": message, "documentation_url": "https://docs.github.com/rest"}, status)
