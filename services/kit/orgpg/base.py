"""The backend: `BEGIN` and the tenant's setting travel to the server in one trip.

The setting is local to the transaction, so that a pooled connection carries nothing to its next user. Outside a
transaction no tenant is set, and the policies show no rows.
"""

from __future__ import annotations

from psycopg import OperationalError
from psycopg.pq import ExecStatus

from services.kit.orgpg.tenant import current_org, sees_one_moment
from services.kit.pooledpg import base

_BEGIN_OK = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)


class DatabaseWrapper(base.DatabaseWrapper):
    """The pooled backend plus `app.org_id` at the start of every transaction."""

    def _set_autocommit(self, autocommit: bool) -> None:
        super()._set_autocommit(autocommit)  # type: ignore[misc]  # the stubs lack it
        org_id = current_org.get()
        if autocommit or org_id is None:
            return
        level = " ISOLATION LEVEL REPEATABLE READ" if sees_one_moment.get() else ""
        with self.wrap_database_errors:
            # The value is the text of a UUID object: nothing in it needs quoting.
            result = self.connection.pgconn.exec_(
                f"BEGIN{level}; SELECT set_config('app.org_id', '{org_id}', true)".encode()
            )
            if result.status not in _BEGIN_OK:
                raise OperationalError(result.error_message.decode(errors="replace"))
