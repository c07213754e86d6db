"""The Kubernetes driver: what it asks a cluster for, what the answers mean, and what it does not promise."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3
from kubernetes.client.exceptions import ApiException

from services.adapters.sandbox import kubernetes_manifests as manifests
from services.adapters.sandbox.cluster_failures import ObjectExists, ObjectGone, mapped_answers
from services.adapters.sandbox.cluster_place import ClusterPlace
from services.adapters.sandbox.kubernetes_engine import UNTOLD, KubernetesDriver
from services.adapters.sandbox.node_stats import find_usage
from services.adapters.sandbox.tests.conftest import AgentImages, cluster_in, host_with
from services.domain.errors import EngineAway, ImageMissing, PromiseBroken, SandboxRefused
from services.domain.ports.sandbox import Promise, SandboxLimits, SandboxSpec, SandboxStatus
from tests.fakes.kubernetes_server import DIGEST, IMAGE, NODE, FakeCluster

SPEC = SandboxSpec(uuid.UUID(int=1), "t", IMAGE, Path("/run/x"), accepted_gaps=UNTOLD)
PLACE = ClusterPlace(NODE)


@pytest.fixture
def cluster(run_dir: Path) -> Iterator[FakeCluster]:
    with cluster_in(run_dir) as found:
        yield found


@pytest.fixture
def driver(cluster: FakeCluster, run_dir: Path) -> Iterator[KubernetesDriver]:
    made = KubernetesDriver("t", run_dir, replace(PLACE, api_url=cluster.url))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (404, ObjectGone),
        (409, ObjectExists),
        (403, SandboxRefused),
        (422, SandboxRefused),
        (401, EngineAway),
        (410, EngineAway),
        (429, EngineAway),
        (500, EngineAway),
    ],
)
def test_each_answer_has_one_meaning(status: int, meaning: type[Exception]) -> None:
    with pytest.raises(meaning), mapped_answers("testing"):
        raise ApiException(status=status, reason="because")


def test_a_cluster_that_is_away_is_said_to_be_away(tmp_path: Path) -> None:
    with pytest.raises(EngineAway), mapped_answers("testing"):
        raise urllib3.exceptions.ProtocolError("cut")
    away = KubernetesDriver("t", tmp_path, replace(PLACE, api_url="http://127.0.0.1:1"))
    assert not away.check().is_up
    for call in (away.list_sandboxes, away.measure_host, lambda: away.inspect(SPEC.sandbox_id)):
        with pytest.raises(EngineAway):
            call()
    assert not KubernetesDriver("t", tmp_path, PLACE).check().is_up
    away.close()


def test_a_pod_asks_for_every_restriction() -> None:
    pod = manifests.pod(replace(SPEC, volume="work", runtime="gvisor"), PLACE, "name")["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10_001,
        "runAsGroup": 10_001,
        "fsGroup": 10_001,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"] == {
        "memory": str(SPEC.limits.memory_bytes),
        "cpu": "1000m",
        "ephemeral-storage": str(SPEC.limits.tmp_bytes),
    }
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    assert (pod["runtimeClassName"], pod["dnsPolicy"], pod["restartPolicy"]) == ("gvisor", "None", "Never")
    places = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert places == {"/run/slipway": True, "/tmp": False, "/home/agent": False, "/workspace": False}
    assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)
    assert [volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume] == ["/run/x"]


def test_the_policy_lets_nothing_in_and_nothing_out() -> None:
    described = manifests.policy("t")["spec"]
    assert described["policyTypes"] == ["Ingress", "Egress"]
    assert (described["ingress"], described["egress"]) == ([], [])
    labels = manifests.pod(SPEC, PLACE, "name")["metadata"]["labels"]
    assert described["podSelector"]["matchLabels"].items() <= labels.items()


def test_what_a_cluster_does_not_tell_is_not_promised(tmp_path: Path) -> None:
    driver = KubernetesDriver("t", tmp_path, PLACE)
    assert frozenset(Promise) - driver.promises == UNTOLD
    with pytest.raises(PromiseBroken, match="no_network"):
        driver.start(replace(SPEC, accepted_gaps=frozenset()))


@pytest.mark.parametrize(("available", "told"), [(0, 1000), (10 * 1024**2, 400)])
def test_a_full_claim_counts_as_all_of_it(available: int, told: int) -> None:
    volume = {"pvcRef": {"name": "c"}, "capacityBytes": 1000, "usedBytes": 400, "availableBytes": available}
    usage = find_usage({"pods": [{"podRef": {"name": "p"}, "volume": [volume]}]}, "p")
    assert usage is not None
    assert usage.disk_bytes == told
    assert find_usage({"pods": []}, "p") is None


def test_an_image_is_known_by_its_digest(driver: KubernetesDriver) -> None:
    assert driver.resolve_image(IMAGE) == DIGEST
    assert driver.resolve_image("elsewhere@sha256:ab") == "elsewhere@sha256:ab"
    with pytest.raises(ImageMissing):
        driver.resolve_image("never:built")


def test_an_image_that_cannot_be_had_ends_the_start(driver: KubernetesDriver, cluster: FakeCluster) -> None:
    with pytest.raises(ImageMissing):
        driver.start(replace(SPEC, image="never:built"))
    assert driver.inspect(SPEC.sandbox_id).status is SandboxStatus.GONE
    assert list(cluster.policies) == ["slipway-t"]


@pytest.mark.engine
async def test_an_eviction_is_told(run_dir: Path) -> None:
    async with host_with("kubernetes", AgentImages("", ""), run_dir) as host:
        sandbox = await host.make(volume="work", limits=SandboxLimits(disk_bytes=16 * 1024**2))
        await sandbox.start()
        over = threading.Event()
        ends = host.driver.watch_ends(over)
        with cluster_in(run_dir) as cluster:
            assert cluster.is_running(sandbox.id)
            await asyncio.to_thread(cluster.kill, sandbox.id)
        assert await asyncio.wait_for(asyncio.to_thread(next, ends), 30) == sandbox.id
        over.set()
        assert await asyncio.wait_for(asyncio.to_thread(list, ends), 30) == []
        assert host.driver.list_volumes() == {"work"}
