"""No list makes a statement for each of its rows: twenty rows cost what one costs, on every route that lists."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import connection, models
from django.test.utils import CaptureQueriesContext

from services.api.http import paging
from services.api.http.paging import PageQuery
from services.api.v1.routes import ROUTES
from services.kit.ids import uuid7
from tests.api.client import Api
from tests.api.conftest import World
from tests.api.test_tenants import _ID

ROWS = 20
LISTS = [
    route
    for route, endpoint in ROUTES
    if (get := endpoint.operations().get("get")) is not None and issubclass(get.query, PageQuery)
]
# Of these the furnished organisation has none, and nothing that could be copied.
EMPTY = {
    "llm/keys/<uuid:llm_key_id>/accesses", "secrets/<uuid:secret_id>/accesses", "invitations",
    "mcp_servers/<uuid:server_id>/accesses", "integrations/<uuid:integration_id>/accesses",
    "playbooks/<uuid:playbook_id>/runs", "agents/<uuid:agent_id>/people",
    "links/<uuid:link_id>/health",
}  # fmt: skip


class Copies:
    """Copies rows, each as another one as far as its table's unique constraints ask for it."""

    def __init__(self) -> None:
        self._made: dict[tuple[type[models.Model], Any, int], Any] = {}

    def of(self, row: models.Model, number: int) -> Any:
        """Return the key of a row's copy of that number, which is made once."""
        key = (type(row), row.pk, number)
        if key not in self._made:
            values = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
            pk = row._meta.pk
            assert pk is not None
            values[pk.attname] = None if isinstance(pk, models.AutoField) else uuid7()
            for names in self._unique(row):
                self._tell_apart(row, names, values, number)
            copy = type(row)(**values)
            copy.save(using="operator", force_insert=True)
            self._made[key] = copy.pk
        return self._made[key]

    def _unique(self, row: models.Model) -> list[list[str]]:
        together = [
            list(one.fields) for one in row._meta.constraints if isinstance(one, models.UniqueConstraint)
        ]
        alone = [[f.name] for f in row._meta.concrete_fields if f.unique and not f.primary_key]
        return [names for names in together + alone if names and row._meta.pk.name not in names]  # type: ignore[union-attr]

    def _tell_apart(self, row: models.Model, names: list[str], values: dict[str, Any], number: int) -> None:
        fields = [row._meta.get_field(name) for name in names if name != "org_id"]
        texts = [field for field in fields if isinstance(field, models.CharField) and not field.choices]
        if texts:
            # Short ones are kinds, which the code has to know.
            field = max(texts, key=lambda field: field.max_length or 0)
            old = str(values[field.attname])[: (field.max_length or 100) - 4]
            values[field.attname] = f"{old}-{number}"
            return
        for field in fields:
            if isinstance(field, models.UUIDField):
                values[field.attname] = uuid.uuid4()
                return
            if isinstance(field, models.IntegerField):
                values[field.attname] += number
                return
        for field in fields:
            if isinstance(field, models.ForeignKey) and values[field.attname] is not None:
                target = field.related_model._default_manager.using("operator").get(pk=values[field.attname])
                values[field.attname] = self.of(target, number)
                return
        raise AssertionError(f"{row._meta.label}: {names} cannot be told apart")


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[list[models.Model]]:
    """Collect the rows of each list that is shown."""
    shown: list[list[models.Model]] = []
    show = paging._page

    def seen(rows: Any, query: Any, show_row: Any) -> Any:
        shown.append(list(rows))
        return show(rows, query, show_row)

    monkeypatch.setattr(paging, "_page", seen)
    return shown


def statements(api: Api, route: str, world: World) -> int:
    path = "/v1/" + _ID.sub(lambda found: world[found[1]], route)
    with CaptureQueriesContext(connection) as made:
        answer = api.call_unchecked("GET", path)
    assert answer.status == 200, (path, answer.body)
    return len(made)


def test_no_list_makes_a_statement_for_each_row(alice: Api, world: World, listed: list[Any]) -> None:
    with_few: dict[str, int] = {}
    samples: dict[str, models.Model] = {}
    for route in LISTS:
        with_few[route] = statements(alice, route, world)
        if listed[-1]:
            samples[route] = listed[-1][0]
    assert set(LISTS) - set(samples) <= EMPTY
    copies = Copies()
    for sample in samples.values():
        for number in range(1, ROWS + 1):
            copies.of(type(sample)._default_manager.using("operator").get(pk=sample.pk), number)
    costly = {}
    for route in samples:
        made = statements(alice, route, world)
        assert len(listed[-1]) >= ROWS, route
        if made > with_few[route]:
            costly[route] = (with_few[route], made)
    assert not costly
