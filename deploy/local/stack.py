"""A whole Slipway in one folder: servers, services, sandboxes. Several may run side by side."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.local import identity, images, promises, remains, servers, services, settings_env, stack_file
from deploy.local.console import Console
from deploy.local.control import Supervisor, inherited_environment
from deploy.local.engine import end_bubblewrap_sandboxes, remove_sandboxes, stop_own_engine
from deploy.local.envfile import read, render, write_private
from deploy.local.failures import NotReady, StartFailed
from deploy.local.layout import (
    REPOSITORY,
    Layout,
    make_runtime_folder,
    remove_stack_folder,
    runtime_folder,
    shown,
)

_SEED_KEYS = ("org", "user", "token", "other_org", "agents")


class Stack:
    """One stack, brought up and taken down.

    `extra` are settings that win over those of `settings.env`, for tests; `driver` demands a sandbox driver;
    `is_bound` ends everything when the calling process dies.
    """

    def __init__(
        self,
        folder: str | Path = ".local",
        *,
        environ: Mapping[str, str] | None = None,
        extra: Mapping[str, str] | None = None,
        driver: str | None = None,
        is_bound: bool = False,
        console: Console | None = None,
    ) -> None:
        self.layout = Layout.at(folder)
        self._given = dict(environ or {})
        self._inherited = inherited_environment(environ or os.environ)
        self._supervisor: Supervisor | None = None
        self._extra = dict(extra or {})
        self._driver = driver
        self._is_bound = is_bound
        self._console = console or Console(is_quiet=True)

    @property
    def env(self) -> dict[str, str]:
        """What the services are given; empty before the first start."""
        return read(self.layout.services_env)

    @property
    def stack_json(self) -> dict[str, Any]:
        """The content of stack.json; empty when the stack is not up."""
        return stack_file.read(self.layout.stack_json)

    @property
    def installation(self) -> str | None:
        return read(self.layout.settings_env).get("SLIPWAY_INSTALLATION")

    @property
    def supervisor(self) -> Supervisor:
        """The supervisor of this stack, running or not. Raises: StartFailed before the first start."""
        if self._supervisor is None:
            if self.installation is None:
                raise StartFailed(f"no stack was ever started in {shown(self.layout.root)}")
            self._supervisor = Supervisor(self.layout, runtime_folder(self.installation))
        return self._supervisor

    def up(self) -> dict[str, Any]:
        """Start what does not run or has changed, wait until all is healthy, write and return stack.json.

        Raises: StartFailed.
        """
        self.layout.make_folders()
        kept = self._keep_settings()
        make_runtime_folder(kept["SLIPWAY_INSTALLATION"])
        supervisor = self.supervisor
        with self._console.step("servers' folders"):
            server_programs = servers.prepare(self.layout, kept)
            self.layout.files.mkdir(exist_ok=True)
        if not supervisor.is_running():
            supervisor.apply(server_programs, self._inherited, is_bound=self._is_bound)
        sandboxing = images.choose_sandboxing(
            self.layout,
            self._driver or kept.get("SLIPWAY_SANDBOX_DRIVER"),
            self._inherited,
            self._console,
        )
        settings = settings_env.process_settings(self.layout, kept, sandboxing.settings())
        settings |= {"SLIPWAY_SANDBOX_DRIVER": sandboxing.driver, **self._extra}
        if "DOCKER_HOST" in self._inherited:
            settings.setdefault("SLIPWAY_DOCKER_HOST", self._inherited["DOCKER_HOST"])
        settings[promises.SETTING] = promises.accept_gaps(settings, self._inherited, self._console)
        write_private(self.layout.services_env, render(settings))
        service_programs = services.programs(self.layout, settings)
        providers = identity.programs(kept, settings)
        supervisor.apply([*server_programs, *providers, *service_programs], self._inherited)
        servers.wait_ready(settings, self._console)
        seeded = self._provision(settings)
        for program in service_programs:
            supervisor.start(program.name)
        services.wait_ready(supervisor, settings, self._console)
        return stack_file.write(self.layout.stack_json, self._describe(settings, seeded), supervisor.pids)

    def _keep_settings(self) -> dict[str, str]:
        is_new = not self.layout.settings_env.exists()
        with self._console.step("settings") as step:
            kept = settings_env.keep(self.layout, self._given)
            busy = servers.busy_ports(kept, self.supervisor)
            if busy:
                kept = settings_env.move_ports(self.layout, busy)
            step.note = f"{shown(self.layout.settings_env)} ({'made' if is_new else 'kept'})"
            if busy and not is_new:
                step.note += f"; in use by others, moved: {', '.join(busy)}"
        return kept

    def _manage(self, settings: Mapping[str, str], command: str) -> str:
        done = subprocess.run(
            [sys.executable, str(REPOSITORY / "manage.py"), command],
            cwd=REPOSITORY,
            env={**self._inherited, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        (self.layout.logs / f"{command}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        if done.returncode != 0:
            raise NotReady(command, f"manage.py {command} ended with {done.returncode}")
        return done.stdout

    def _provision(self, settings: Mapping[str, str]) -> dict[str, Any]:
        with self._console.step("databases"):
            self._manage(settings, "provision")
        with self._console.step("demo content"):
            printed = self._manage(settings, "seed")
            (self.layout.logs / "seed.log").unlink(missing_ok=True)  # it holds a token
            try:
                seeded = json.loads(printed)
                return {key: seeded[key] for key in _SEED_KEYS}
            except (ValueError, KeyError, TypeError) as error:
                raise StartFailed(f"manage.py seed did not print what was agreed: {error!r}") from error

    def _describe(self, settings: Mapping[str, str], seeded: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "api": settings["SLIPWAY_PUBLIC_URL"],
            "realtime": settings["SLIPWAY_REALTIME_PUBLIC_URL"],
            "gateway": settings["SLIPWAY_GATEWAY_PUBLIC_URL"],
            "database_url": settings["SLIPWAY_OPERATOR_DATABASE_URL"],
            "redis_url": settings["SLIPWAY_REDIS_URL"],
            "broker_url": settings["SLIPWAY_BROKER_URL"],
            **seeded,
            "identity_provider": self._identity_provider(settings),
            "settings_env": str(self.layout.settings_env),
        }

    def _identity_provider(self, settings: Mapping[str, str]) -> str | None:
        kept = read(self.layout.settings_env)
        return identity.url(kept) if identity.programs(kept, settings) else None

    def down(self) -> None:
        """Stop every process and sandbox and remove the sockets; data and settings stay. Twice is fine."""
        if self.installation is None:
            return
        runtime = runtime_folder(self.installation)
        with self._console.step("processes"):
            self.supervisor.shutdown()
        with self._console.step("sandboxes") as step:
            remains.thaw_groups(self.installation)
            removed = remove_sandboxes(self.installation) + end_bubblewrap_sandboxes(runtime)
            remains.remove_groups(self.installation)
            remains.unmount_volumes(Path(self.env.get("SLIPWAY_DATA_DIR") or self.layout.files))
            step.note = f"{removed} removed" if removed else ""
        stack_file.remove(self.layout.stack_json)
        shutil.rmtree(runtime, ignore_errors=True)
        if stop_own_engine(self.layout, runtime):
            self._console.say("    the container engine that `up` started was stopped")

    def purge(self) -> None:
        """Take the stack down and remove its folder, data too."""
        self.down()
        remove_stack_folder(self.layout)
