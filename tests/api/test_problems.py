"""The registry of problems: whole, and where every error's body leads."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from django.test import Client
from rest_framework.exceptions import APIException

import services
from services.domain.errors import SlipwayError
from services.domain.problems import PROBLEMS
from services.realtime.forward import Refused

# These run something when they are imported.
_NOT_TO_IMPORT = (".serve", ".__main__", ".settings", ".wsgi", ".listen")


def descendants(kind: type) -> Iterator[type]:
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def raised() -> dict[str, set[int]]:
    """Return every code that any class of ours can raise, with its statuses."""
    for module in pkgutil.walk_packages(services.__path__, "services."):
        is_code = not any(part in module.name for part in (".tests", ".migrations", ".management"))
        if is_code and not module.name.endswith(_NOT_TO_IMPORT):
            importlib.import_module(module.name)
    found: dict[str, set[int]] = {}
    for error in descendants(SlipwayError):
        # Repeats the code of an answer that the api service gave, which is one of these.
        if error is not Refused:
            found.setdefault(error.code, set()).add(error.status)
    return found


def test_every_code_that_is_raised_is_in_the_registry_and_no_other_is(database):
    ours = raised()
    assert {code: {PROBLEMS[code].status} for code in ours if code in PROBLEMS} == {
        code: statuses for code, statuses in ours.items() if code in PROBLEMS
    }
    assert set(ours) <= set(PROBLEMS), set(ours) - set(PROBLEMS)
    framework = {
        error.default_code: error.status_code
        for error in descendants(APIException)
        if error.__module__ == "rest_framework.exceptions" and error.status_code != 401
    }
    known = {code for code in framework if code in PROBLEMS and PROBLEMS[code].status == framework[code]}
    assert set(PROBLEMS) <= set(ours) | known, set(PROBLEMS) - set(ours) - known


def test_an_error_links_to_the_page_that_says_what_to_do(alice):
    error = alice.get("/v1/tasks?cursor=AAAA").body["error"]
    path = "/" + error["doc_url"].split("/", 3)[3]
    assert path == "/docs/problems/cursor_invalid"
    page = Client().get(path)
    assert page.status_code == 200
    assert PROBLEMS["cursor_invalid"].title in page.content.decode()


def test_every_code_has_a_page(database):
    client = Client()
    listed = client.get("/docs/problems").content.decode()
    for code, problem in PROBLEMS.items():
        assert f"/docs/problems/{code}" in listed
        page = client.get(f"/docs/problems/{code}")
        assert page.status_code == 200
        assert str(problem.status) in page.content.decode()
    assert client.get("/docs/problems/no_such_code").status_code == 404


def test_a_page_names_the_operations_that_answer_so(database):
    page = Client().get("/docs/problems/task_finished").content.decode()
    assert "/v1/tasks/{task_id}/cancel" in page
    assert "/v1/playbooks" not in page
