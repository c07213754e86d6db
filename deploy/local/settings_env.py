"""The settings of one stack: what it keeps in `settings.env`, and what its processes are given.

`settings.env` holds what is made once and kept: the installation's name, secrets, ports. A person may edit it
and add any setting of the services. What follows from it (URLs, folders) is worked out at each start.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping

from deploy.local import envfile, identity
from deploy.local.layout import Layout, runtime_folder
from deploy.local.ports import pick_port

_HEADER = """\
# The settings of this local Slipway. Made by `make up` and kept; edit it and run `make up` again.
# Any setting of the services may be added, e.g. SLIPWAY_SANDBOX_SLOTS=4 or SLIPWAY_SANDBOX_DRIVER=bubblewrap.
# ANTHROPIC_API_KEY and the base URLs of outside parties, when set in the environment of `make up`, are
# written here and stay; set one to nothing there (`ANTHROPIC_API_KEY= make up`) to take it out.
"""

ROLES = ("admin", "owner", "app", "operator", "relay", "plane")
SERVER_PORTS = (
    "LOCAL_POSTGRES_PORT",
    "LOCAL_REDIS_PORT",
    "LOCAL_RABBITMQ_PORT",
    "LOCAL_RABBITMQ_DIST_PORT",
    "LOCAL_EPMD_PORT",
)
SERVICE_PORTS = ("SLIPWAY_API_PORT", "SLIPWAY_REALTIME_PORT", "SLIPWAY_GATEWAY_PORT", identity.PORT)

_FROM_ENVIRONMENT = re.compile(
    r"ANTHROPIC_API_KEY|OPENAI_API_KEY|[A-Z0-9]+_API_BASE|[A-Z0-9]+_BASE_URL"
    r"|GOOGLE_CLIENT_ID|GOOGLE_CLIENT_SECRET|GOOGLE_ACCOUNTS_BASE|GOOGLE_OAUTH_BASE"
    r"|SLIPWAY_SANDBOX_DRIVER|SLIPWAY_SANDBOX_SLOTS|SLIPWAY_BASE_IMAGE|SLIPWAY_VOLUME_BACKEND|SLIPWAY_ACCEPTED_GAPS"
)
_INSTALLATION = re.compile(r"[a-z0-9]{1,16}")


def _made_once() -> dict[str, str]:
    made = {
        "SLIPWAY_INSTALLATION": secrets.token_hex(3),
        "SLIPWAY_SECRET_KEY": secrets.token_urlsafe(48),
        "SLIPWAY_VAULT_KEYS": "k1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "LOCAL_REDIS_PASSWORD": secrets.token_hex(16),
        "LOCAL_RABBITMQ_PASSWORD": secrets.token_hex(16),
        "LOCAL_ERLANG_COOKIE": secrets.token_hex(16),
    }
    made.update({f"LOCAL_PASSWORD_{role.upper()}": secrets.token_hex(16) for role in ROLES})
    return made


def _given(environ: Mapping[str, str]) -> dict[str, str | None]:
    return {key: value or None for key, value in environ.items() if _FROM_ENVIRONMENT.fullmatch(key)}


def keep(layout: Layout, environ: Mapping[str, str]) -> dict[str, str]:
    """Make what is missing in `settings.env`, take over what the environment sets, return all of it.

    Raises: LineRefused, ValueError.
    """
    path = layout.settings_env
    text = path.read_text(encoding="utf-8") if path.exists() else _HEADER
    kept = envfile.parse(text, source=str(path))
    changes: dict[str, str | None] = {key: value for key, value in _made_once().items() if not kept.get(key)}
    taken = {int(kept[name]) for name in SERVER_PORTS + SERVICE_PORTS if kept.get(name)}
    for name in SERVER_PORTS + SERVICE_PORTS:
        if not kept.get(name):
            port = pick_port(taken)
            taken.add(port)
            changes[name] = str(port)
    changes.update(_given(environ))
    changed = envfile.merge(text, changes)
    if changed != text or not path.exists():
        envfile.write_private(path, changed)
    path.chmod(0o600)
    values = envfile.parse(changed, source=str(path))
    if not _INSTALLATION.fullmatch(values["SLIPWAY_INSTALLATION"]):
        raise ValueError("SLIPWAY_INSTALLATION must be 1 to 16 of a-z and 0-9")
    return values


def move_ports(layout: Layout, names: list[str]) -> dict[str, str]:
    """Give these settings new free ports, because the kept ones are in use by something else."""
    text = layout.settings_env.read_text(encoding="utf-8")
    kept = envfile.parse(text)
    taken = {int(kept[name]) for name in SERVER_PORTS + SERVICE_PORTS}
    changes: dict[str, str | None] = {}
    for name in names:
        port = pick_port(taken)
        taken.add(port)
        changes[name] = str(port)
    envfile.write_private(layout.settings_env, envfile.merge(text, changes))
    return envfile.read(layout.settings_env)


def _database_url(kept: Mapping[str, str], role: str, database: str) -> str:
    user = "postgres" if role == "admin" else f"slipway_{role}"
    return (
        f"postgresql://{user}:{kept[f'LOCAL_PASSWORD_{role.upper()}']}"
        f"@127.0.0.1:{kept['LOCAL_POSTGRES_PORT']}/{database}"
    )


def server_urls(kept: Mapping[str, str]) -> dict[str, str]:
    """Return the URL of every server, under the names that the services read."""
    return {
        "SLIPWAY_ADMIN_DATABASE_URL": _database_url(kept, "admin", "postgres"),
        "SLIPWAY_OWNER_DATABASE_URL": _database_url(kept, "owner", "slipway"),
        "SLIPWAY_DATABASE_URL": _database_url(kept, "app", "slipway"),
        "SLIPWAY_OPERATOR_DATABASE_URL": _database_url(kept, "operator", "slipway"),
        "SLIPWAY_RELAY_DATABASE_URL": _database_url(kept, "relay", "slipway"),
        "SLIPWAY_PLANE_OWNER_DATABASE_URL": _database_url(kept, "owner", "slipway_plane"),
        "SLIPWAY_PLANE_DATABASE_URL": _database_url(kept, "plane", "slipway_plane"),
        "SLIPWAY_REDIS_URL": f"redis://:{kept['LOCAL_REDIS_PASSWORD']}@127.0.0.1:{kept['LOCAL_REDIS_PORT']}/0",
        "SLIPWAY_BROKER_URL": (
            f"amqp://slipway:{kept['LOCAL_RABBITMQ_PASSWORD']}@127.0.0.1:{kept['LOCAL_RABBITMQ_PORT']}//"
        ),
    }


def process_settings(layout: Layout, kept: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that every service gets: worked out, then `extra`, then what the person set."""
    worked_out = {
        "SLIPWAY_ENV": "development",
        "SLIPWAY_SIGN_UP": "open",
        **identity.settings(kept),
        **server_urls(kept),
        "SLIPWAY_PUBLIC_URL": f"http://127.0.0.1:{kept['SLIPWAY_API_PORT']}",
        "SLIPWAY_REALTIME_PUBLIC_URL": f"ws://127.0.0.1:{kept['SLIPWAY_REALTIME_PORT']}",
        "SLIPWAY_GATEWAY_PUBLIC_URL": f"http://127.0.0.1:{kept['SLIPWAY_GATEWAY_PORT']}",
        "SLIPWAY_HOST_NAME": f"host-{kept['SLIPWAY_INSTALLATION']}",
        "SLIPWAY_RUN_DIR": str(runtime_folder(kept["SLIPWAY_INSTALLATION"])),
        "SLIPWAY_DATA_DIR": str(layout.files),
    }
    chosen = {key: value for key, value in kept.items() if not key.startswith("LOCAL_")}
    return {**worked_out, **extra, **chosen}
