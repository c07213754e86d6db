"""The port that builds an image out of another one and a list of packages.

A builder knows no database row and no tenant: a recipe is values. What it builds stays on this host.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to build: on which image, by its digest, which packages, and the tag that the result gets."""

    base: str
    tag: str
    apt: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """What came out: the content digest, and how many bytes it has beyond its base."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One derived image that is on this host."""

    tag: str
    digest: str
    created_at: datetime


class ImageBuilder(Protocol):
    """Builds derived images on this host.

    Raises: EngineAway when the engine does not answer, ImagesUnsupported where nothing can be built.
    """

    def resolve(self, image: str) -> str:
        """Return the content digest that a tag names now. Raises: ImageMissing."""
        ...

    def build(
        self, recipe: Recipe, on_log: Callable[[str], None], *, timeout_s: float, stop: threading.Event
    ) -> BuiltImage:
        """Build a recipe and give the result its tag; an image that had it loses it. `on_log` gets the output.

        Setting `stop` ends it early. The result has the user, the entry point and the environment of its base,
        no setuid bit, and nothing of this host's configuration. Raises: ImageMissing for the base,
        ImageBuildFailed, ImageBuildTimeout, ImageTooLarge.
        """
        ...

    def list_built(self) -> list[StoredImage]:
        """List the derived images of this installation on this host."""
        ...

    def remove(self, tag: str) -> bool:
        """Remove a derived image; False while a container uses it. One that is gone is removed."""
        ...

    def remove_leftovers(self) -> None:
        """Remove what builds left behind whose worker died."""
        ...
