"""Finds the kinds of accounts: each folder here with an `adapter.py` that exposes `KIND`."""

from __future__ import annotations

import dataclasses
import importlib
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from services.adapters.accounts.kind import AccountKind
from services.adapters.upstreams.network import Network
from services.domain.ports.accounts import Installation


def list_kinds() -> list[type[AccountKind]]:
    """List the kinds by name. One that cannot be imported is an error, never an absence."""
    return list(_found().values())


def find_kind(kind: str) -> type[AccountKind] | None:
    """Find a kind by its name."""
    return _found().get(kind)


def build_kinds(installation: Installation, network: Network) -> dict[str, AccountKind]:
    """Make one adapter of each kind, by name."""
    return {name: kind(_way_to(kind, installation, network), installation) for name, kind in _found().items()}


def _way_to(kind: type[AccountKind], installation: Installation, network: Network) -> Network:
    """Return the kind's way out: an address that the operator set themselves may be inside, and without https."""
    chosen = (
        urlsplit(installation.endpoints[name]).hostname
        for name, default in kind.endpoints.items()
        if installation.endpoints.get(name, default) != default
    )
    hosts = frozenset(host for host in chosen if host)
    return dataclasses.replace(network, internal_hosts=network.internal_hosts | hosts) if hosts else network


@cache
def _found() -> dict[str, type[AccountKind]]:
    here = Path(__file__).parent
    names = (folder.name for folder in sorted(here.iterdir()) if (folder / "adapter.py").is_file())
    return {name: _load(name) for name in names}


def _load(name: str) -> type[AccountKind]:
    module = importlib.import_module(f"{__package__}.{name}.adapter")
    kind: type[AccountKind] = module.KIND
    if kind.manifest.kind != name:
        raise ImportError(f"folder {name} holds a kind of account called {kind.manifest.kind}")
    return kind
