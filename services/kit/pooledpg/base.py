"""The backend: a connection that died in the pool is passed over without a pause.

The pool's own check waits between two failures, twice as long each time, so that after a restart of the server a
request would run into its time limit before it had passed over all that the restart broke. It also asks the server
each time: a fifth of all trips. A server that has gone closes its connections, and a closed one can be read from,
while nobody has anything to say to one that is at rest; so the server is asked only when there is something to read.
Source: psycopg_pool, `ConnectionPool.getconn` with `check`.
"""

from __future__ import annotations

import select
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's PostgreSQL backend plus a check of each pooled connection before its use."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection that answers. Raises: OperationalError when none can be had in time."""
        pool = self.pool
        if pool is None:
            return super().get_new_connection(conn_params)
        for _ in range(pool.max_size):
            connection = super().get_new_connection(conn_params)
            if not _has_something_to_say(connection):
                return connection
            try:
                ConnectionPool.check_connection(connection)
            except psycopg.OperationalError:
                pool.putconn(connection)  # which replaces it
            else:
                return connection
        return super().get_new_connection(conn_params)


def _has_something_to_say(connection: psycopg.Connection[Any]) -> bool:
    """Say whether a connection at rest can be read from, as one can that the other side has closed."""
    poll = select.poll()
    try:
        poll.register(connection.fileno(), select.POLLIN)
    except psycopg.OperationalError:
        return True
    return bool(poll.poll(0))
