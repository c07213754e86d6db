"""Which database a model lives in."""

from __future__ import annotations

from typing import Any

PLANE = "plane"


class PlaneRouter:
    """Sends the sandbox plane's models to their own database and keeps its tables out of the others."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return PLANE if model._meta.app_label == PLANE else None

    db_for_write = db_for_read

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool | None:
        if PLANE in (one._meta.app_label, other._meta.app_label):
            return bool(one._meta.app_label == other._meta.app_label)
        return None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return (app_label == PLANE) == (db in ("plane", "plane_owner"))
