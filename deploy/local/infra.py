"""The servers alone, without the services: for tests and benchmarks that bring their own processes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local import rabbitmq, servers, settings_env
from deploy.local.console import Console
from deploy.local.control import Supervisor
from deploy.local.envfile import render, write_private
from deploy.local.layout import Layout, make_runtime_folder, remove_stack_folder, runtime_folder


class Infra:
    """PostgreSQL, Redis and RabbitMQ in a folder of their own, ended with the process that started them.

    `is_durable` False spares PostgreSQL its flushes, for data that a test throws away.
    The settings, and so the ports and `urls`, are there before the start.
    """

    def __init__(self, folder: str | Path, *, is_durable: bool = True) -> None:
        self.layout = Layout.at(folder)
        self.layout.make_folders()
        self._kept = settings_env.keep(self.layout, {})
        self._runtime = runtime_folder(self._kept["SLIPWAY_INSTALLATION"])
        self.supervisor = Supervisor(self.layout, self._runtime)
        busy = servers.busy_ports(self._kept, self.supervisor)
        if busy:
            self._kept = settings_env.move_ports(self.layout, busy)
        if not is_durable:
            self._kept["LOCAL_POSTGRES_FSYNC"] = "off"
        self.env = settings_env.process_settings(self.layout, self._kept, {"SLIPWAY_ENV": "test"})
        self.urls = {key: value for key, value in self.env.items() if key.endswith("_URL")}

    def start(self) -> Self:
        """Start the servers and wait until all answer. Raises: StartFailed."""
        self.layout.make_folders()
        make_runtime_folder(self._kept["SLIPWAY_INSTALLATION"])
        programs = servers.prepare(self.layout, self._kept)
        self.layout.files.mkdir(exist_ok=True)
        write_private(self.layout.services_env, render(self.env))
        self.supervisor.apply(programs, os.environ, is_bound=True)
        try:
            servers.wait_ready(self.urls, Console(is_quiet=True))
        except BaseException:
            self.stop()
            raise
        return self

    def pids(self) -> dict[str, int]:
        """Return the pid of every server."""
        return self.supervisor.pids()

    def rabbitmqctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` against this broker."""
        return rabbitmq.control(self.layout.data.resolve() / "rabbitmq", self._kept, *arguments)

    def stop(self) -> None:
        """End the servers; the data stays. May be called twice."""
        self.supervisor.shutdown()
        shutil.rmtree(self._runtime, ignore_errors=True)

    def purge(self) -> None:
        """End the servers and remove their folder, data too."""
        self.stop()
        remove_stack_folder(self.layout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
