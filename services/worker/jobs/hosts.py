"""This host's heartbeat, its return after it was fenced, and looking after the other hosts."""

from __future__ import annotations

import logging
import threading

from services.domain.plane.fencing import end_what_it_had, fence_stale_hosts
from services.domain.plane.hosts import dispatch_soon, register_host, rejoin_host
from services.domain.plane.models import HOLDS_SLOT, Host
from services.domain.plane.queries import find_sandbox
from services.domain.plane.volumes import adopt_volumes
from services.domain.ports.sandbox import Promise
from services.kit.environment import environment
from services.worker.jobs import sandboxes

log = logging.getLogger(__name__)

_rejoining = threading.Lock()


def beat_host() -> Host | None:
    """Say that this host is alive and what it has; None, and nothing is said, while its engine does not answer.

    Work for which there is no engine is better placed elsewhere: a host whose engine is away falls silent.
    Raises: EngineAway.
    """
    env, driver = environment(), sandboxes.driver()
    engine = driver.check()
    if not engine.is_up:
        log.error("the sandbox engine does not answer: %s", engine.note)
        return None
    host = register_host(
        env.host_name,
        driver=env.sandbox_driver,
        slots=env.sandbox_slots,
        engine_version=engine.version,
        missing_promises=set(Promise) - driver.promises,
        accepted_gaps=sandboxes.accepted_gaps(),
        gateway_url=env.gateway_url or f"http://127.0.0.1:{env.gateway_port}",
        resources=driver.measure_host(),
    )
    if host.fenced_at is not None:
        with _rejoining:
            _rejoin(host)
    return host


def sweep_hosts() -> None:
    """Fence the hosts that have fallen silent."""
    fence_stale_hosts(asking=environment().host_name)


def _rejoin(host: Host) -> None:
    """Come back after this host was fenced: end every container that runs here, then serve under the new epoch.

    Volumes that nobody restored meanwhile are this host's again; the sweep removes the others.
    """
    end_what_it_had(host.name)
    driver = sandboxes.driver()
    for report in driver.list_sandboxes():
        row = find_sandbox(report.sandbox_id)
        if row is not None and row.host_id != host.name and row.state in HOLDS_SLOT:
            # Another host's, on an engine that both use.
            continue
        log.warning("ending sandbox %s, which this host lost when it was fenced", report.sandbox_id)
        sandboxes.remove_container(report.sandbox_id)
    if rejoin_host(host.name, host.epoch):
        adopted = adopt_volumes(host.name, driver.list_volumes())
        log.warning("host %s serves again; %d volumes were still its own", host.name, adopted)
        dispatch_soon()
