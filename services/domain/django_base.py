"""The Django settings that all four services share; each adds its own in `<service>/settings.py`."""

from __future__ import annotations

from typing import Any

from services.kit.environment import environment, mail_settings, postgres_parts

_env = environment()

SECRET_KEY = _env.secret_key.get_secret_value()
DEBUG = False
ALLOWED_HOSTS = [name.strip() for name in _env.allowed_hosts.split(",")]
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "identity.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]

DOMAIN_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "services.domain.identity",
    "services.domain.audit",
    "services.domain.letters",
    "services.domain.agents",
    "services.domain.workspaces",
    "services.domain.events",
    "services.domain.tasks",
    "services.domain.vault",
    "services.domain.chats",
    "services.domain.playbooks",
    "services.domain.memory",
    "services.domain.commands",
    "services.domain.images",
    "services.domain.metering",
    "services.domain.calls",
    "services.domain.approvals",
    "services.domain.upstreams",
    "services.domain.llm",
    "services.domain.integrations",
    "services.domain.contacts",
    "services.domain.chat_commands",
    "services.domain.media",
    "services.domain.rooms",
    "services.domain.push",
    "services.domain.webhooks",
    "services.domain.questions",
    "services.domain.oauth",
    "services.domain.idempotency",
    "services.domain.skills",
    "services.domain.outbox",
    "services.domain.tenancy",
    "services.domain.plane",
]
INSTALLED_APPS = list(DOMAIN_APPS)

_OPTIONS = "-c lock_timeout=4s -c statement_timeout=15s -c idle_in_transaction_session_timeout=60s"


def _database(url: Any, *, engine: str = "services.kit.pooledpg", pool_size: int = 20) -> dict[str, Any]:
    pool = {"min_size": 0, "max_size": pool_size, "timeout": 10, "max_idle": 120}
    return {
        "ENGINE": engine,
        **postgres_parts(url),
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": False,  # the backend checks, without the pauses of the pool's own check
        "OPTIONS": {"pool": pool, "options": _OPTIONS, "connect_timeout": 5},
    }


DATABASES: dict[str, dict[str, Any]] = {
    # Row-level security holds here: no tenant set, no rows.
    "default": _database(_env.database_url, engine="services.kit.orgpg"),
    # Sees every tenant. Only functions whose name says `all_tenants` use it.
    "operator": _database(_env.operator_database_url, pool_size=10),
    # The sandbox plane: a database of its own.
    "plane": _database(_env.plane_database_url),
}
DATABASE_ROUTERS = ["services.domain.plane.router.PlaneRouter"]

globals().update(mail_settings(_env))

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "httpx": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        "mcp": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
    },
}
