"""Which builder serves this host."""

from __future__ import annotations

import threading
from collections.abc import Callable

from services.domain.errors import ImagesUnsupported
from services.domain.ports.images import BuiltImage, ImageBuilder, Recipe, StoredImage


class NoBuilder:
    """The builder of a host whose sandboxes start from no image that could be made here."""

    def resolve(self, image: str) -> str:
        raise ImagesUnsupported("This installation's sandboxes cannot have packages of their own.")

    def build(
        self, recipe: Recipe, on_log: Callable[[str], None], *, timeout_s: float, stop: threading.Event
    ) -> BuiltImage:
        raise ImagesUnsupported("This installation's sandboxes cannot have packages of their own.")

    def list_built(self) -> list[StoredImage]:
        return []

    def remove(self, tag: str) -> bool:
        return True

    def remove_leftovers(self) -> None:
        """Do nothing: nothing is ever built."""


def make_builder(driver: str, installation: str, *, docker_host: str | None = None) -> ImageBuilder:
    """Make the builder that goes with a sandbox driver."""
    if driver == "docker":
        from services.adapters.images.docker_builder import DockerImageBuilder

        return DockerImageBuilder(installation, host=docker_host)
    return NoBuilder()
