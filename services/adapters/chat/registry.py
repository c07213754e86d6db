"""Finds the chat platforms: each folder here with an `adapter.py` that exposes `ADAPTER`.

"Here" is the package's path, to which an installation may add a place of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel

from services.domain.ports.chat import ChatAdapter, Manifest


class AdapterClass(Protocol):
    """What a folder exposes as `ADAPTER`: the class of its adapter, made with the platform's base address.

    `base_setting` names the setting that replaces `default_base`, for a proxy, a local server or a test.
    """

    manifest: Manifest
    config_model: type[BaseModel]
    base_setting: ClassVar[str]
    default_base: ClassVar[str]

    def __call__(self, base_url: str) -> ChatAdapter:
        """Make the adapter."""
        ...


@runtime_checkable
class HasOtherBases(Protocol):
    """A platform that is more than one server: `other_bases` has their addresses by the names of their settings.

    Its class is made with its own base address and with those.
    """

    base_setting: ClassVar[str]
    default_base: ClassVar[str]
    other_bases: ClassVar[Mapping[str, str]]

    def __call__(self, base_url: str, other_bases: Mapping[str, str]) -> ChatAdapter:
        """Make the adapter."""
        ...


def list_adapters() -> list[AdapterClass]:
    """List the platforms, by kind. An adapter that cannot be imported is an error, never an absence."""
    return list(_found().values())


def find_adapter(kind: str) -> AdapterClass | None:
    """Find the platform of this kind."""
    return _found().get(kind)


def build_adapters(settings: Mapping[str, str]) -> dict[str, ChatAdapter]:
    """Make one adapter of each kind, each with the addresses under its own names in `settings`, where they are set."""
    return {kind: _make(adapter, settings) for kind, adapter in _found().items()}


def _make(adapter: AdapterClass | HasOtherBases, settings: Mapping[str, str]) -> ChatAdapter:
    base = settings.get(adapter.base_setting) or adapter.default_base
    if isinstance(adapter, HasOtherBases):
        return adapter(
            base, {name: settings.get(name) or there for name, there in adapter.other_bases.items()}
        )
    return adapter(base)


@cache
def _found() -> dict[str, AdapterClass]:
    package = importlib.import_module(str(__package__))
    folders = {
        folder.name for place in package.__path__ for folder in Path(place).iterdir() if _is_adapter(folder)
    }
    return {kind: _load(kind) for kind in sorted(folders)}


def _is_adapter(folder: Path) -> bool:
    return (folder / "adapter.py").is_file()


def _load(kind: str) -> AdapterClass:
    module = importlib.import_module(f"{__package__}.{kind}.adapter")
    adapter: AdapterClass = module.ADAPTER
    if adapter.manifest.kind != kind:
        raise ImportError(f"folder {kind} holds an adapter of kind {adapter.manifest.kind}")
    return adapter
