"""A cluster of one node that speaks the part of the Kubernetes API which the driver uses.

Its kubelet is bubblewrap: a pod is a real runner in real namespaces, and a claim is a volume of the local store. Its
admission refuses a pod that is not locked down as Slipway's must be, or that no network policy cuts off. What it
cannot show: a network that enforces the policy, a storage class, a scheduler, a container runtime.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from services.adapters.sandbox.bubblewrap import BubblewrapDriver
from services.adapters.sandbox.proc import free_memory_bytes, memory_bytes
from services.domain.ports.sandbox import Promise, SandboxLimits, SandboxSpec, SandboxStatus
from tests.fakes.serving import LocalServer

NODE, IMAGE, RUNTIME = "node-1", "slipway-agent:fake", "gvisor"
DIGEST = f"slipway-agent@sha256:{'1' * 64}"
_INSTALLATION = "kubelet"
_SANDBOX = "slipway.sandbox"
_OVER = ("Succeeded", "Failed")
Json = dict[str, Any]


class FakeCluster:
    """The API server and its one node; a context in which they serve."""

    def __init__(self, run_dir: Path) -> None:
        self.kubelet = BubblewrapDriver(_INSTALLATION, run_dir / "kubelet", data_dir=run_dir / "kubelet")
        self.pods: dict[str, Json] = {}
        self.claims: dict[str, Json] = {}
        self.policies: dict[str, Json] = {}
        self._events: list[tuple[int, str, Json]] = []
        self._versions = itertools.count(1)
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._server = LocalServer(self._app())
        self._watching = threading.Thread(target=self._watch_kubelet, name="fake-kubelet", daemon=True)

    @property
    def url(self) -> str:
        return self._server.url

    def __enter__(self) -> Self:
        self._server.start()
        self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._changed:
            self._changed.notify_all()
        self._watching.join(10)
        self._server.stop()
        for report in self.kubelet.list_sandboxes():
            self.kubelet.destroy(report.sandbox_id)
        for volume in self.kubelet.list_volumes():
            self.kubelet.remove_volume(volume)

    def _app(self) -> Starlette:
        core = "/api/v1/namespaces/{namespace}"
        pods, claims = f"{core}/pods", f"{core}/persistentvolumeclaims"
        policies = "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
        return Starlette(
            routes=[
                Route("/version/", self._version),
                Route(pods, self._list_pods, methods=["GET"]),
                Route(pods, self._create_pod, methods=["POST"]),
                Route(f"{pods}/{{name}}", self._read_pod, methods=["GET"]),
                Route(f"{pods}/{{name}}", self._delete_pod, methods=["DELETE"]),
                Route(f"{pods}/{{name}}/log", self._read_log),
                Route(claims, self._list_claims, methods=["GET"]),
                Route(claims, self._create_claim, methods=["POST"]),
                Route(f"{claims}/{{name}}", self._read_claim, methods=["GET"]),
                Route(f"{claims}/{{name}}", self._delete_claim, methods=["DELETE"]),
                Route(policies, self._create_policy, methods=["POST"]),
                Route("/apis/node.k8s.io/v1/runtimeclasses", self._list_runtimes),
                Route("/api/v1/nodes/{name}", self._read_node),
                Route("/api/v1/nodes/{name}/proxy/stats/summary", self._summary),
            ]
        )

    # --- pods ----------------------------------------------------------------------------------------

    async def _create_pod(self, request: Request) -> Response:
        body = await request.json()
        name = body["metadata"]["name"]
        if reason := self._refusal(body):
            return _status(403, "Forbidden", reason)
        with self._changed:
            if name in self.pods:
                return _status(409, "AlreadyExists", name)
            body["metadata"] |= {"uid": str(uuid.uuid4()), "namespace": request.path_params["namespace"]}
            self.pods[name] = body
            self._set_phase(name, "Pending")
        threading.Thread(target=self._run, args=(name,), name=f"pod:{name}", daemon=True).start()
        return JSONResponse(self.pods[name], 201)

    def _refusal(self, pod: Json) -> str | None:
        """Be the admission: return what is wrong with a pod."""
        spec, container = pod["spec"], pod["spec"]["containers"][0]
        inside, outside = container["securityContext"], spec["securityContext"]
        is_locked = (
            outside["runAsNonRoot"]
            and outside["runAsUser"] == 10_001
            and outside["seccompProfile"]["type"] == "RuntimeDefault"
            and inside["capabilities"]["drop"] == ["ALL"]
            and inside["readOnlyRootFilesystem"]
            and not inside["allowPrivilegeEscalation"]
            and not spec["automountServiceAccountToken"]
            and not spec["enableServiceLinks"]
            and not any(spec[name] for name in ("hostNetwork", "hostPID", "hostIPC"))
            and {"memory", "cpu", "ephemeral-storage"} <= set(container["resources"]["limits"])
        )
        if not is_locked:
            return "violates the restricted standard"
        labels = pod["metadata"]["labels"].items()
        selectors = (policy["spec"]["podSelector"]["matchLabels"] for policy in self.policies.values())
        if not any(selector.items() <= labels for selector in selectors):
            return "no network policy selects it"
        return None

    def _run(self, name: str) -> None:
        """Be the kubelet: run what a new pod asks for."""
        pod = self.pods[name]
        container = pod["spec"]["containers"][0]
        if container["image"] not in (IMAGE, DIGEST):
            self._change(name, "Pending", {"waiting": {"reason": "ErrImagePull"}})
        elif "command" in container:
            self._change(name, "Running", {"running": {}})
            code = self._transfer(pod)
            self._change(name, "Failed" if code else "Succeeded", {"terminated": {"exitCode": code}})
        else:
            self.kubelet.start(self._spec(pod))
            self._change(name, "Running", {"running": {}})

    def _spec(self, pod: Json) -> SandboxSpec:
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        claim = volumes["workspace"].get("persistentVolumeClaim", {}).get("claimName")
        size = pod["spec"]["containers"][0]["resources"]["limits"]
        limits = SandboxLimits(
            memory_bytes=int(size["memory"]),
            tmp_bytes=int(size["ephemeral-storage"]),
            disk_bytes=self._claimed_bytes(claim) if claim else 0,
        )
        self.kubelet.check()
        return SandboxSpec(
            _sandbox_of(pod),
            _INSTALLATION,
            "host",
            Path(volumes["link"]["hostPath"]["path"]),
            volume=claim,
            limits=limits,
            accepted_gaps=frozenset(Promise) - self.kubelet.promises,
        )

    def _transfer(self, pod: Json) -> int:
        """Run a script with the volume and the host's folder in the places that it names."""
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        claim = volumes["workspace"]["persistentVolumeClaim"]["claimName"]
        *program, script = pod["spec"]["containers"][0]["command"]
        with self.kubelet._volumes.opened(claim, self._claimed_bytes(claim)) as place:
            script = script.replace("/workspace", str(place))
            script = script.replace("/transfer", volumes["transfer"]["hostPath"]["path"])
            done = subprocess.run([*program, script], check=False, capture_output=True, timeout=60)
            # A pod would have run it as this user, who cannot reach these places here.
            subprocess.run(["chown", "-R", "-h", "10001:10001", str(place)], check=True)
        self.kubelet._volumes.close(claim)
        return done.returncode

    def _claimed_bytes(self, claim: str) -> int:
        return int(self.claims[claim]["spec"]["resources"]["requests"]["storage"])

    def _watch_kubelet(self) -> None:
        """Tell of runners that end by themselves."""
        for sandbox_id in self.kubelet.watch_ends(self._over):
            report = self.kubelet.inspect(sandbox_id)
            reason = "OOMKilled" if report.is_out_of_memory else "Error"
            for name, pod in list(self.pods.items()):
                if pod["metadata"]["labels"].get(_SANDBOX) == str(sandbox_id):
                    phase = "Failed" if report.exit_code else "Succeeded"
                    self._change(
                        name, phase, {"terminated": {"exitCode": report.exit_code or 0, "reason": reason}}
                    )

    def _delete_pod(self, request: Request) -> Response:
        name = request.path_params["name"]
        grace = float(request.query_params.get("gracePeriodSeconds", 2))
        with self._changed:
            pod = self.pods.get(name)
            if pod is None:
                return _status(404, "NotFound", name)
            is_first = "deletionTimestamp" not in pod["metadata"]
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        if is_first:
            threading.Thread(target=self._end, args=(name, pod, grace), daemon=True).start()
        return JSONResponse(pod)

    def _end(self, name: str, pod: Json, grace: float) -> None:
        if _SANDBOX in pod["metadata"]["labels"]:
            self.kubelet.stop(_sandbox_of(pod), grace_s=grace)
            self.kubelet.destroy(_sandbox_of(pod))
        with self._changed:
            self._note("DELETED", self.pods.pop(name))

    def _read_pod(self, request: Request) -> Response:
        return _found(self.pods.get(request.path_params["name"]))

    def _read_log(self, request: Request) -> Response:
        pod = self.pods.get(request.path_params["name"])
        if pod is None:
            return _status(404, "NotFound", "pod")
        return PlainTextResponse(self.kubelet.read_log(_sandbox_of(pod), max_bytes=1_000_000))

    def _list_pods(self, request: Request) -> Response:
        selector = request.query_params.get("labelSelector", "")
        if request.query_params.get("watch"):
            return StreamingResponse(
                self._watch(
                    selector,
                    int(request.query_params.get("resourceVersion") or 0),
                    float(request.query_params.get("timeoutSeconds", 30)),
                ),
                media_type="application/json",
            )
        with self._changed:
            items = [pod for pod in self.pods.values() if _matches(pod, selector)]
            version = self._events[-1][0] if self._events else 0
        return JSONResponse(_listed("PodList", items, version))

    def _watch(self, selector: str, after: int, timeout_s: float) -> Iterator[str]:
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0 and not self._over.is_set():
            with self._changed:
                new = [event for event in self._events if event[0] > after]
                if not new:
                    self._changed.wait(left)
                    continue
            for version, kind, pod in new:
                after = version
                if _matches(pod, selector):
                    yield json.dumps({"type": kind, "object": pod}) + "\n"

    def _change(self, name: str, phase: str, state: Json) -> None:
        with self._changed:
            if name in self.pods:
                self._set_phase(name, phase, state)

    def _set_phase(self, name: str, phase: str, state: Json | None = None) -> None:
        pod = self.pods[name]
        image = pod["spec"]["containers"][0]["image"]
        shown = {"name": "agent", "image": image, "imageID": image, "ready": phase == "Running"}
        kind = "MODIFIED" if "status" in pod else "ADDED"
        pod["status"] = {
            "phase": phase,
            "containerStatuses": [{**shown, "restartCount": 0, "state": state or {}}],
        }
        self._note(kind, pod)

    def _note(self, kind: str, pod: Json) -> None:
        version = next(self._versions)
        pod["metadata"]["resourceVersion"] = str(version)
        self._events.append((version, kind, json.loads(json.dumps(pod))))
        self._changed.notify_all()

    # --- claims, policies, the node --------------------------------------------------------------------

    async def _create_claim(self, request: Request) -> Response:
        return _created(self.claims, await request.json())

    def _read_claim(self, request: Request) -> Response:
        return _found(self.claims.get(request.path_params["name"]))

    def _delete_claim(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self.claims:
            return _status(404, "NotFound", name)
        self.kubelet.remove_volume(name)
        return JSONResponse(self.claims.pop(name))

    def _list_claims(self, request: Request) -> Response:
        selector = request.query_params.get("labelSelector", "")
        items = [claim for claim in self.claims.values() if _matches(claim, selector)]
        return JSONResponse(_listed("PersistentVolumeClaimList", items, 0))

    async def _create_policy(self, request: Request) -> Response:
        return _created(self.policies, await request.json())

    def _list_runtimes(self, _request: Request) -> Response:
        items = [{"metadata": {"name": RUNTIME}, "handler": "runsc"}]
        return JSONResponse(_listed("RuntimeClassList", items, 0))

    def _read_node(self, request: Request) -> Response:
        if request.path_params["name"] != NODE:
            return _status(404, "NotFound", request.path_params["name"])
        status = {
            "capacity": {"memory": f"{memory_bytes() // 1024}Ki"},
            "images": [{"names": [DIGEST, IMAGE], "sizeBytes": 1}],
        }
        return JSONResponse({"kind": "Node", "metadata": {"name": NODE}, "status": status})

    def _summary(self, _request: Request) -> Response:
        shown = [
            self._measured(name, pod) for name, pod in list(self.pods.items()) if _SANDBOX in _labels(pod)
        ]
        node = {"nodeName": NODE, "memory": {"availableBytes": free_memory_bytes()}}
        return JSONResponse({"node": node, "pods": shown})

    def _measured(self, name: str, pod: Json) -> Json:
        used = self.kubelet.read_usage(_sandbox_of(pod))
        shown: Json = {"podRef": {"name": name}}
        if used is not None:
            shown |= {
                "cpu": {"usageCoreNanoSeconds": used.cpu_ms * 1_000_000},
                "memory": {"workingSetBytes": used.memory_bytes},
            }
            claims = [volume.get("persistentVolumeClaim") for volume in pod["spec"]["volumes"]]
            for claim in filter(None, claims):
                size = self._claimed_bytes(claim["claimName"])
                room = {"capacityBytes": size, "availableBytes": max(0, size - used.disk_bytes)}
                shown["volume"] = [
                    {"pvcRef": {"name": claim["claimName"]}, "usedBytes": used.disk_bytes, **room}
                ]
        return shown

    def _version(self, _request: Request) -> Response:
        names = ("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion", "platform")
        return JSONResponse(
            {**dict.fromkeys(names, "fake"), "gitVersion": "v1.31.0-fake", "major": "1", "minor": "31"}
        )

    def kill(self, sandbox_id: uuid.UUID) -> None:
        """Evict a pod, as a node does that runs short of something."""
        for name, pod in list(self.pods.items()):
            if _labels(pod).get(_SANDBOX) == str(sandbox_id):
                self._end(name, pod, 0)

    def is_running(self, sandbox_id: uuid.UUID) -> bool:
        return self.kubelet.inspect(sandbox_id).status is SandboxStatus.RUNNING


def _labels(thing: Json) -> Json:
    labels: Json = thing["metadata"]["labels"]
    return labels


def _sandbox_of(pod: Json) -> uuid.UUID:
    return uuid.UUID(_labels(pod)[_SANDBOX])


def _matches(thing: Json, selector: str) -> bool:
    labels = _labels(thing)
    for part in filter(None, selector.split(",")):
        name, separator, value = part.partition("=")
        if name not in labels or (separator and labels[name] != value):
            return False
    return True


def _created(things: dict[str, Json], body: Json) -> Response:
    name = body["metadata"]["name"]
    if name in things:
        return _status(409, "AlreadyExists", name)
    things[name] = body
    return JSONResponse(body, 201)


def _found(thing: Json | None) -> Response:
    return JSONResponse(thing) if thing is not None else _status(404, "NotFound", "it")


def _listed(kind: str, items: list[Json], version: int) -> Json:
    return {"kind": kind, "metadata": {"resourceVersion": str(version)}, "items": items}


def _status(code: int, reason: str, message: str) -> Response:
    return JSONResponse({"kind": "Status", "code": code, "reason": reason, "message": message}, code)
