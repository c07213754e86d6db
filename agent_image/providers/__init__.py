"""One folder for each provider, found by its name; its module has `open_provider() -> Provider`."""

from __future__ import annotations

import importlib
import re

from agent_image.runner.turn import Provider, ProviderUnknown

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")


def open_provider(name: str) -> Provider:
    """Open a fresh provider for one turn. Raises: ProviderUnknown."""
    module_name = f"{__name__}.{name}"
    if not _NAME.fullmatch(name):
        raise ProviderUnknown("This sandbox has no such provider.")
    try:
        provider: Provider = importlib.import_module(module_name).open_provider()
    except ModuleNotFoundError as exc:
        if exc.name == module_name:
            raise ProviderUnknown(f"This sandbox has no provider {name!r}.") from exc
        raise ProviderUnknown(f"This sandbox's image lacks what the provider {name!r} needs.") from exc
    return provider
