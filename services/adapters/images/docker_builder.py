"""Builds derived images with the Docker engine: a container of the base, one script in it, and a commit.

Not a Dockerfile: no text is made out of names that tenants chose, files of the build leave no layer behind, and
memory, processes and time are limited like those of any container.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import LogConfig

from services.adapters.images.context import FOLDER, BuildContext
from services.domain.errors import (
    EngineAway,
    ImageBuildFailed,
    ImageBuildTimeout,
    ImageMissing,
    ImageTooLarge,
)
from services.domain.ports.images import BuiltImage, Recipe, StoredImage

logger = logging.getLogger(__name__)

IMAGE_LABEL = "slipway.derived"
DEFAULT_HOST = "unix:///var/run/docker.sock"
TIMEOUT_S = 120
COMMIT_S = 600
MEMORY_BYTES = 2 * 1024**3
PIDS = 1024
CPUS = 2.0
MAX_SIZE_BYTES = 8 * 1024**3
LEFTOVER_S = 3 * 3600
# What dpkg needs to unpack, and apt to become its own user: no more than an unprivileged container's root.
CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID"]


class DockerImageBuilder:
    """Builds on this host's engine. The environment of the worker says which proxies, mirrors and CAs there are."""

    def __init__(
        self, installation: str, *, host: str | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._installation = installation
        self._prefix = f"slipway-{installation}-build-"
        self._host = host or DEFAULT_HOST
        self._environ = os.environ if environ is None else environ

    def resolve(self, image: str) -> str:
        with self._engine() as api:
            return str(_inspect(api, image)["Id"])

    def build(
        self, recipe: Recipe, on_log: Callable[[str], None], *, timeout_s: float, stop: threading.Event
    ) -> BuiltImage:
        context = BuildContext(recipe, self._environ)
        with self._engine(COMMIT_S) as api:
            base = _inspect(api, recipe.base)
            container = self._create(api, recipe)
            try:
                self._run(api, container, context, on_log, timeout_s=timeout_s, stop=stop)
                return self._commit(api, container, recipe, base)
            finally:
                with suppress(APIError):
                    api.remove_container(container, force=True, v=True)

    def list_built(self) -> list[StoredImage]:
        with self._engine() as api:
            found = api.images(filters={"label": f"{IMAGE_LABEL}={self._installation}"})
        return [
            StoredImage(tag, str(image["Id"]), datetime.fromtimestamp(image["Created"], tz=UTC))
            for image in found
            for tag in image.get("RepoTags") or ()
            if tag != "<none>:<none>"
        ]

    def remove(self, tag: str) -> bool:
        with self._engine() as api:
            try:
                api.remove_image(tag)
            except NotFound:
                return True
            except APIError as error:
                if error.response is not None and error.response.status_code == 409:
                    return False
                raise
        return True

    def remove_leftovers(self) -> None:
        edge = datetime.now(tz=UTC).timestamp() - LEFTOVER_S
        with self._engine() as api:
            for container in api.containers(all=True, filters={"name": f"^/{self._prefix}"}):
                if container["Created"] < edge:
                    with suppress(NotFound):
                        api.remove_container(container["Id"], force=True, v=True)
            # An image whose tag went to a later build of the same recipe.
            dangling = {"dangling": True, "label": [f"{IMAGE_LABEL}={self._installation}"]}
            api.prune_images(filters=dangling)  # type: ignore[no-untyped-call]  # the stubs lack it

    @contextmanager
    def _engine(self, timeout_s: int = TIMEOUT_S) -> Iterator[docker.APIClient]:
        """Open a client for one errand. Raises: EngineAway, ImageMissing."""
        try:
            _knock(self._host)
            with closing(docker.APIClient(base_url=self._host, version="auto", timeout=timeout_s)) as api:
                yield api
        except ImageNotFound as error:
            raise ImageMissing("The sandbox image is not on this host.") from error
        except (DockerException, requests.RequestException, OSError) as error:
            logger.warning("the container engine fails at an image: %s", error)
            raise EngineAway("The container engine does not answer.", retry_after_s=5.0) from error

    def _create(self, api: docker.APIClient, recipe: Recipe) -> str:
        options = api.create_host_config(
            network_mode="bridge",
            cap_drop=["ALL"],
            cap_add=CAPABILITIES,
            security_opt=["no-new-privileges:true"],
            init=True,
            mem_limit=MEMORY_BYTES,
            memswap_limit=MEMORY_BYTES,
            nano_cpus=round(CPUS * 1e9),
            pids_limit=PIDS,
            oom_score_adj=500,
            log_config=LogConfig(type="none"),
        )
        made = api.create_container(
            image=recipe.base,
            entrypoint=["/bin/sh", f"/{FOLDER}/install.sh"],
            user="0:0",
            working_dir="/",
            # By its name and not by a label, which every sandbox of the image would have too.
            name=f"{self._prefix}{secrets.token_hex(8)}",
            host_config=options,
        )
        return str(made["Id"])

    def _run(
        self,
        api: docker.APIClient,
        container: str,
        context: BuildContext,
        on_log: Callable[[str], None],
        *,
        timeout_s: float,
        stop: threading.Event,
    ) -> None:
        """Install the packages. Raises: ImageBuildFailed, ImageBuildTimeout."""
        api.put_archive(container, "/", context.archive())
        output = api.attach(container, stream=True)
        ended = threading.Event()
        guard = _Guard(api, container, timeout_s, stop, ended)
        try:
            api.start(container)
            guard.start()
            for part in output:
                on_log(context.cleaned(part))
            code = api.wait(container)["StatusCode"]
        finally:
            ended.set()
            output.close()
            # The SDK's own close leaves the file around the socket open.
            output._response.close()  # type: ignore[attr-defined]
            if guard.ident is not None:
                guard.join()
        if guard.has_ended_it:
            raise ImageBuildTimeout(f"The build took longer than {timeout_s:.0f} seconds.")
        if code != 0:
            state = api.inspect_container(container)["State"]
            reason = "ran out of memory" if state.get("OOMKilled") else "failed; its log says why"
            raise ImageBuildFailed(f"Installing the packages {reason}.")

    def _commit(
        self, api: docker.APIClient, container: str, recipe: Recipe, base: dict[str, Any]
    ) -> BuiltImage:
        """Make the image, as its base but for the files. Raises: ImageBuildFailed, ImageTooLarge."""
        if any(change["Path"].startswith(f"/{FOLDER}") for change in api.diff(container) or ()):
            raise ImageBuildFailed("Files of the build are left in the image.")
        config = dict(base["Config"])
        config["Labels"] = {**(config.get("Labels") or {}), IMAGE_LABEL: self._installation}
        repository, _, tag = recipe.tag.rpartition(":")
        digest = str(api.commit(container, repository=repository, tag=tag, conf=config)["Id"])
        made = _inspect(api, digest)
        size = int(made["Size"]) - int(base["Size"])
        if any(made["Config"].get(name) != base["Config"].get(name) for name in _KEPT):
            api.remove_image(recipe.tag, force=True)
            raise ImageBuildFailed("The engine made an image that does not start as its base does.")
        if size > MAX_SIZE_BYTES:
            api.remove_image(recipe.tag, force=True)
            raise ImageTooLarge(f"The packages take more than {MAX_SIZE_BYTES // 1024**3} GiB.")
        return BuiltImage(digest, size)


_KEPT = ("User", "Entrypoint", "Cmd", "Env", "WorkingDir", "Volumes", "ExposedPorts")


class _Guard(threading.Thread):
    """Kills a build that takes too long or shall stop. `has_ended_it` says that its time was over."""

    def __init__(
        self,
        api: docker.APIClient,
        container: str,
        timeout_s: float,
        stop: threading.Event,
        ended: threading.Event,
    ) -> None:
        super().__init__(name="image-build-guard", daemon=True)
        self._api, self._container = api, container
        self._timeout_s, self._cancelled, self._ended = timeout_s, stop, ended
        self.has_ended_it = False

    def run(self) -> None:
        is_stopped = self._wait()
        if self._ended.is_set():
            return
        self.has_ended_it = not is_stopped
        with suppress(DockerException, requests.RequestException):
            self._api.kill(self._container)

    def _wait(self) -> bool:
        """Wait until the build has ended, shall stop, or is late; True when it shall stop."""
        remaining_s = self._timeout_s
        while remaining_s > 0 and not self._ended.wait(min(remaining_s, 0.5)):
            if self._cancelled.is_set():
                return True
            remaining_s -= 0.5
        return False


def _knock(host: str) -> None:
    """Connect and hang up: the SDK leaks a socket for each connection that is refused. Raises: OSError."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(TIMEOUT_S)
            knocking.connect(host.removeprefix("unix://"))


def _inspect(api: docker.APIClient, image: str) -> dict[str, Any]:
    found: dict[str, Any] = api.inspect_image(image)  # type: ignore[no-untyped-call]
    return found
