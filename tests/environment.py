"""A pytest plugin, loaded before Django's: the settings of the tests' processes, and the servers behind them.

With SLIPWAY_TEST_SERVERS set, servers that run already are used (their URLs are in the environment); else the suite
starts its own PostgreSQL, Redis and RabbitMQ under `.local/test`. Either way the databases are the suite's own.
SLIPWAY_TEST_NAME (default "test") names both, so that two sessions can run side by side.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent
_DATABASE_URLS = ("DATABASE", "OPERATOR_DATABASE", "RELAY_DATABASE", "OWNER_DATABASE")
_PLANE_URLS = ("PLANE_DATABASE", "PLANE_OWNER_DATABASE")


def _rename_databases(suffix: str) -> None:
    for names, database in ((_DATABASE_URLS, f"slipway_{suffix}"), (_PLANE_URLS, f"slipway_plane_{suffix}")):
        for name in names:
            parts = urlsplit(os.environ[f"SLIPWAY_{name}_URL"])
            os.environ[f"SLIPWAY_{name}_URL"] = urlunsplit(parts._replace(path=f"/{database}"))


def _set_environment() -> object | None:
    infra, name = None, os.environ.get("SLIPWAY_TEST_NAME", "test")
    if "SLIPWAY_TEST_SERVERS" not in os.environ:
        from deploy.local.infra import Infra

        infra = Infra(ROOT / ".local" / name, is_durable=False)
        os.environ.update(infra.urls)
    run_dir = tempfile.mkdtemp(prefix="slipway-test-")
    atexit.register(shutil.rmtree, run_dir, ignore_errors=True)
    os.environ.update(
        DJANGO_SETTINGS_MODULE="services.api.settings",
        SLIPWAY_ENV="test",
        SLIPWAY_SIGN_UP="open",
        SLIPWAY_INSTALLATION=f"test{os.getpid() % 100000}",
        SLIPWAY_SECRET_KEY="only-for-tests-only-for-tests-only-for-tests",
        SLIPWAY_VAULT_KEYS="test1:" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        SLIPWAY_PUBLIC_URL="http://127.0.0.1:8000",
        SLIPWAY_REALTIME_PUBLIC_URL="ws://127.0.0.1:8001",
        SLIPWAY_RUN_DIR=run_dir,
        SLIPWAY_DATA_DIR=f"{run_dir}/data",
        SLIPWAY_HOST_NAME="testhost",
    )
    _rename_databases(name)
    return infra


INFRA = _set_environment()


@pytest.fixture(scope="session")
def servers():
    """Run PostgreSQL, Redis and RabbitMQ for the whole session."""
    if INFRA is None:
        yield
        return
    INFRA.start()
    yield
    INFRA.stop()
