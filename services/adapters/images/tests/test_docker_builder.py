"""Real builds on a real engine: what is installed, what is left out, what is refused."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

from services.adapters.images.docker_builder import DockerImageBuilder
from services.adapters.images.registry import NoBuilder, make_builder
from services.adapters.sandbox.tests.conftest import AgentImages
from services.domain.errors import (
    EngineAway,
    ImageBuildFailed,
    ImageBuildTimeout,
    ImageMissing,
    ImagesUnsupported,
)
from services.domain.ports.images import BuiltImage, Recipe

INSTALLATION = f"imgtest{os.getpid() % 100000}"
PATIENCE_S = 240.0


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.APIClient]:
    client = docker.APIClient(base_url=os.environ.get("DOCKER_HOST") or None, version="auto", timeout=120)
    yield client
    client.close()


@pytest.fixture(scope="module")
def builder() -> Iterator[DockerImageBuilder]:
    made = DockerImageBuilder(INSTALLATION, host=os.environ.get("SLIPWAY_DOCKER_HOST"))
    yield made
    for image in made.list_built():
        made.remove(image.tag)
    made.remove_leftovers()


@dataclass
class Build:
    """One build on the shell image, and what it says."""

    builder: DockerImageBuilder
    base: str
    log: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    tag: str = field(default_factory=lambda: f"slipway-derived-{INSTALLATION}:{uuid.uuid4().hex}")

    def run(self, *, timeout_s: float = PATIENCE_S, **packages: tuple[str, ...]) -> BuiltImage:
        recipe = Recipe(self.builder.resolve(self.base), self.tag, **packages)
        return self.builder.build(recipe, self.log.append, timeout_s=timeout_s, stop=self.stop)


@pytest.fixture
def build(builder: DockerImageBuilder, agent_images: AgentImages) -> Build:
    """Give a build that nothing has been done for yet."""
    return Build(builder, agent_images.shell)


def output_of(engine: docker.APIClient, image: str, command: list[str]) -> str:
    """Run a command in a container without a network."""
    made = engine.create_container(image, entrypoint=command, network_disabled=True)
    try:
        engine.start(made["Id"])
        engine.wait(made["Id"])
        said: bytes = engine.logs(made["Id"])
        return said.decode()
    finally:
        engine.remove_container(made["Id"], force=True)


def builds_on(engine: docker.APIClient) -> list[object]:
    """List the containers of builds that are still there."""
    return list(engine.containers(all=True, filters={"name": f"slipway-{INSTALLATION}-build-"}))


@pytest.mark.engine
def test_packages_are_there_and_the_image_is_otherwise_its_base(
    build: Build, engine: docker.APIClient
) -> None:
    builder, tag = build.builder, build.tag
    built = build.run(apt=("tree",), pip=("iniconfig==2.0.0",), npm=("left-pad@1.3.0",))
    assert "== done" in "".join(build.log)
    script = (
        "tree --version; node -p 'require(\"/usr/local/lib/node_modules/left-pad\")(7, 3, 0)';"
        "python3 -c 'import iniconfig as i; print(i.IniConfig.__name__)'; id -u; ls -d /slipway-build;"
        "find / -xdev -type f -perm /6000 2>/dev/null; env; ls /usr/sbin/policy-rc.d; ls /var/lib/apt/lists"
    )
    said = output_of(engine, tag, ["/bin/sh", "-c", script])
    assert "tree v" in said
    assert "007\nIniConfig\n10001\n" in said
    assert "cannot access '/slipway-build'" in said
    assert "cannot access '/usr/sbin/policy-rc.d'" in said
    for left_over in ("PIP_CERT", "_Packages", "/usr/bin/passwd"):
        assert left_over not in said
    base, made = (engine.inspect_image(image)["Config"] for image in (build.base, tag))  # type: ignore[no-untyped-call]
    for name in ("User", "Entrypoint", "Env", "WorkingDir"):
        assert made[name] == base[name]
    assert 0 < built.size_bytes < 100 * 1024**2
    assert builder.resolve(tag) == built.digest
    assert tag in [image.tag for image in builder.list_built()]
    holder = engine.create_container(tag)["Id"]
    assert not builder.remove(tag)
    engine.remove_container(holder)
    for _ in range(2):
        assert builder.remove(tag)
    with pytest.raises(ImageMissing):
        builder.resolve(tag)


@pytest.mark.engine
def test_a_package_that_does_not_exist_fails_the_build_and_its_log_says_so(
    build: Build, engine: docker.APIClient
) -> None:
    with pytest.raises(ImageBuildFailed):
        build.run(apt=("no-such-package-of-ours",))
    assert "no-such-package-of-ours" in "".join(build.log)
    assert not engine.images(build.tag)
    assert builds_on(engine) == []


@pytest.mark.engine
def test_a_build_ends_when_its_time_is_over_or_nobody_wants_it(
    build: Build, engine: docker.APIClient
) -> None:
    with pytest.raises(ImageBuildTimeout):
        build.run(timeout_s=0.05, apt=("tree",))
    build.stop.set()
    with pytest.raises(ImageBuildFailed):
        build.run(apt=("tree",))
    assert builds_on(engine) == []


def test_an_engine_that_is_away_is_worth_another_try(tmp_path: Path) -> None:
    with pytest.raises(EngineAway):
        DockerImageBuilder("x", host=f"unix://{tmp_path}/none.sock").resolve("image")


def test_a_host_without_images_says_that_it_builds_none() -> None:
    builder = make_builder("bubblewrap", "x")
    assert isinstance(builder, NoBuilder)
    with pytest.raises(ImagesUnsupported):
        builder.resolve("image")
    assert builder.list_built() == []
