"""What the Kubernetes driver asks a cluster for: hardened pods, their claims, and the policy that cuts them off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.adapters.sandbox.cluster_place import ClusterPlace
from services.adapters.sandbox.hardening import AGENT_UID, HOME_BYTES, LINK_FOLDER, WORKSPACE
from services.domain.ports.sandbox import SandboxSpec

INSTALLATION_LABEL = "slipway.installation"
SANDBOX_LABEL = "slipway.sandbox"
VOLUME_LABEL = "slipway.volume"
NODE_LABEL = "slipway.node"
TRANSFER = "/transfer"
CONTAINER = "agent"

Manifest = dict[str, Any]


def pod(spec: SandboxSpec, place: ClusterPlace, name: str) -> Manifest:
    """Describe the pod of a sandbox: `hardening.host_options` in the cluster's words."""
    labels = {
        INSTALLATION_LABEL: spec.installation,
        NODE_LABEL: place.node,
        SANDBOX_LABEL: str(spec.sandbox_id),
    }
    if spec.volume is not None:
        labels[VOLUME_LABEL] = spec.volume
    limits = spec.limits
    size = {
        "memory": str(limits.memory_bytes),
        "cpu": f"{max(1, round(limits.cpus * 1000))}m",
        "ephemeral-storage": str(limits.tmp_bytes),
    }
    volumes: list[Manifest] = [
        {"name": "link", "hostPath": {"path": str(spec.socket_dir), "type": "Directory"}},
        _memory("tmp", limits.tmp_bytes),
        _memory("home", HOME_BYTES),
        _claimed(claim_name(spec.installation, spec.volume))
        if spec.volume is not None
        else _memory("workspace", limits.tmp_bytes),
    ]
    mounts: list[Manifest] = [
        {"name": "link", "mountPath": LINK_FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 (inside of the sandbox)
        {"name": "home", "mountPath": "/home/agent"},
        {"name": "workspace", "mountPath": WORKSPACE},
    ]
    manifest = _hardened(place, name, labels, spec.image, volumes, mounts, size)
    if spec.runtime is not None:
        manifest["spec"]["runtimeClassName"] = spec.runtime
    return manifest


def transfer_pod(
    installation: str, place: ClusterPlace, name: str, *, volume: str, folder: Path, script: str
) -> Manifest:
    """Describe a pod that runs one script with a volume and a folder of the host, as the agent's user."""
    size = {"memory": str(256 * 1024**2), "cpu": "1", "ephemeral-storage": str(64 * 1024**2)}
    volumes = [
        _claimed(claim_name(installation, volume)),
        {"name": "transfer", "hostPath": {"path": str(folder), "type": "Directory"}},
    ]
    mounts = [{"name": "workspace", "mountPath": WORKSPACE}, {"name": "transfer", "mountPath": TRANSFER}]
    labels = {INSTALLATION_LABEL: installation, VOLUME_LABEL: volume}
    manifest = _hardened(place, name, labels, place.tool_image, volumes, mounts, size)
    manifest["spec"]["containers"][0]["command"] = ["sh", "-euc", script]
    return manifest


def claim(installation: str, place: ClusterPlace, volume: str, disk_bytes: int) -> Manifest:
    """Describe the claim of a workspace's volume."""
    described: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(disk_bytes)}},
    }
    if place.storage_class is not None:
        described["storageClassName"] = place.storage_class
    labels = {INSTALLATION_LABEL: installation, VOLUME_LABEL: volume, NODE_LABEL: place.node}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim_name(installation, volume), "labels": labels},
        "spec": described,
    }


def policy(installation: str) -> Manifest:
    """Describe the policy for all pods of an installation: nothing in, nothing out. The link is a socket."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"slipway-{installation}", "labels": {INSTALLATION_LABEL: installation}},
        "spec": {
            "podSelector": {"matchLabels": {INSTALLATION_LABEL: installation}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [],
        },
    }


def pod_name(installation: str, sandbox: str) -> str:
    return f"slipway-{installation}-{sandbox}"


def claim_name(installation: str, volume: str) -> str:
    return f"slipway-{installation}-{volume}".lower()


def _hardened(
    place: ClusterPlace,
    name: str,
    labels: dict[str, str],
    image: str,
    volumes: list[Manifest],
    mounts: list[Manifest],
    size: dict[str, str],
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": place.node},
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 2,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "hostNetwork": False,
            "hostPID": False,
            "hostIPC": False,
            "shareProcessNamespace": True,  # the pod's own first process reaps what the agent leaves
            "hostname": "sandbox",
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["127.0.0.1"], "searches": ["."]},
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": AGENT_UID,
                "runAsGroup": AGENT_UID,
                "fsGroup": AGENT_UID,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": CONTAINER,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "workingDir": WORKSPACE,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "privileged": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "resources": {"limits": size, "requests": size},
                    "volumeMounts": mounts,
                }
            ],
            "volumes": volumes,
        },
    }


def _memory(name: str, size_bytes: int) -> Manifest:
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": str(size_bytes)}}


def _claimed(name: str) -> Manifest:
    return {"name": "workspace", "persistentVolumeClaim": {"claimName": name}}
