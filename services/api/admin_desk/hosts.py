"""The desk's pages of hosts and volumes: what each has, what it does not promise, draining and fencing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.utils.timesince import timesince

from services.api.admin_desk.base import DeskAdmin, button, shown
from services.domain.plane.fencing import fence_host
from services.domain.plane.hosts import describe_state, drain_host, undrain_host, with_loads
from services.domain.plane.models import Host, Volume
from services.domain.ports.sandbox import Promise

MEANINGS = {
    Promise.NO_NETWORK: "a sandbox can reach other machines without the gateway",
    Promise.READ_ONLY_ROOT: "a sandbox can change the files of its image until it ends",
    Promise.NON_ROOT: "what runs in a sandbox is root there",
    Promise.NO_CAPABILITIES: "a sandbox has rights over the kernel that it does not need",
    Promise.NO_NEW_PRIVILEGES: "a program in a sandbox can gain rights that its user has not",
    Promise.SYSCALL_FILTER: "a sandbox may make any system call",
    Promise.MEMORY_LIMIT: "one sandbox can take all of the host's memory",
    Promise.CPU_LIMIT: "one sandbox can take all of the host's processors",
    Promise.PIDS_LIMIT: "one sandbox can start processes until the host has no more",
    Promise.DISK_LIMIT: "one workspace can fill the host's disk",
    Promise.OWN_FILESYSTEM: "a sandbox can see files of the host",
}
STATES = {
    "serving": "success",
    "drained": "info",
    "draining": "warning",
    "silent": "danger",
    "fenced": "danger",
}
ISOLATION = {"whole": "success", "gaps accepted": "danger", "starts are refused": "danger"}


@dataclass(frozen=True, slots=True)
class Gap:
    """A promise of isolation that a host does not keep: what that means, and whether the operator accepts it."""

    promise: str
    meaning: str
    is_accepted: bool


def list_gaps(host: Host) -> list[Gap]:
    """List what a host does not promise."""
    return [
        Gap(name, MEANINGS.get(name, "it is not known what this means"), name in host.accepted_gaps)
        for name in host.missing_promises
    ]


def state_of(row: Any) -> str:
    """Return in a word what a host with its loads does."""
    return describe_state(row, used=row.used, volumes=row.volumes_here)


class HostAdmin(DeskAdmin):
    """Machines that run sandboxes. Draining and fencing are buttons; a host makes its own row."""

    using = "plane"
    list_display = (
        "name",
        "state",
        "isolation",
        "kind",
        "slots_used",
        "files",
        "memory",
        "image_count",
        "last_beat_at",
    )
    list_filter = ("is_draining", ("fenced_at", admin.EmptyFieldListFilter))
    search_fields = ("name",)
    actions = ("drain", "undrain", "fence")
    list_before_template = "admin_desk/hosts_gaps.html"
    change_form_before_template = "admin_desk/host_gaps.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the hosts with what is on them."""
        return with_loads(super().get_queryset(request))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Say above the list what is not kept, in red."""
        hosts = [(host, list_gaps(host)) for host in Host.objects.order_by("name")]
        context = {"hosts_with_gaps": [(host, gaps) for host, gaps in hosts if gaps], **(extra_context or {})}
        answer: HttpResponse = super().changelist_view(request, context)
        return answer

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Say above the row what is not kept, in red."""
        host = Host.objects.filter(name=object_id).first()
        context = {"gaps": list_gaps(host) if host else [], **(extra_context or {})}
        answer: HttpResponse = super().changeform_view(request, object_id, form_url, context)
        return answer

    @shown("State", label=STATES)
    def state(self, row: Any) -> str:
        """Show what the host does."""
        return state_of(row)

    @shown("Isolation", label=ISOLATION)
    def isolation(self, row: Host) -> str:
        """Show whether every promise is kept."""
        gaps = list_gaps(row)
        if not gaps:
            return "whole"
        return "gaps accepted" if all(gap.is_accepted for gap in gaps) else "starts are refused"

    @shown("Driver", ordering="driver")
    def kind(self, row: Host) -> str:
        """Show the driver and its engine's version."""
        return f"{row.driver} {row.engine_version}".strip()

    @shown("Slots")
    def slots_used(self, row: Any) -> str:
        """Show how many slots are in use, and how many sandboxes are at work."""
        return f"{row.used} of {row.slots}, {row.busy} at work"

    @shown("Volumes")
    def files(self, row: Any) -> int:
        """Show how many workspaces have their files here."""
        return int(row.volumes_here)

    @shown("Memory")
    def memory(self, row: Any) -> str:
        """Show free and whole memory, and what its sandboxes may take."""
        free, whole = filesizeformat(row.memory_free_bytes), filesizeformat(row.memory_bytes)
        return f"{free} free of {whole}, {filesizeformat(row.promised)} promised"

    @shown("Images")
    def image_count(self, row: Host) -> int:
        """Show how many images are there."""
        return len(row.images)

    @button("Drain")
    def drain(self, request: HttpRequest, rows: QuerySet[Host]) -> None:
        """Have the chosen hosts finish their turns and give up their files."""
        who = request.user.get_username()
        self.run_each(request, rows, lambda row: drain_host(who, row.pk), "Draining")

    @button("Let work again")
    def undrain(self, request: HttpRequest, rows: QuerySet[Host]) -> None:
        """Let the chosen hosts take work again."""
        who = request.user.get_username()
        self.run_each(request, rows, lambda row: undrain_host(who, row.pk), "Taking work again")

    @button("Fence: take everything from it now")
    def fence(self, request: HttpRequest, rows: QuerySet[Host]) -> None:
        """Fence the chosen hosts, silent or not."""
        self.run_each(request, rows, lambda row: fence_host(row.pk), "Fenced")


class VolumeAdmin(DeskAdmin):
    """Where the files of workspaces lie, and how old their copies are."""

    using = "plane"
    list_display = ("workspace_id", "org", "place", "room", "changed_at", "copy_age", "copy_size")
    list_filter = (("host", admin.EmptyFieldListFilter), ("snapshot_at", admin.EmptyFieldListFilter))
    search_fields = ("workspace_id", "org_id", "host__name", "name")

    @shown("Host", ordering="host")
    def place(self, row: Volume) -> str:
        """Show the host, or that the files lie in object storage alone."""
        return row.host_id or (f"lost with {row.lost_host}" if row.lost_host else "object storage")

    @shown("Room", ordering="disk_bytes")
    def room(self, row: Volume) -> str:
        """Show how much the files may take."""
        return filesizeformat(row.disk_bytes)

    @shown("Snapshot", ordering="snapshot_at")
    def copy_age(self, row: Volume) -> str:
        """Show how old the stored copy is."""
        return f"{timesince(row.snapshot_at)} old" if row.snapshot_at else "none yet"

    @shown("Snapshot size", ordering="snapshot_bytes")
    def copy_size(self, row: Volume) -> str:
        """Show how large the stored copy is."""
        return filesizeformat(row.snapshot_bytes) if row.snapshot_at else ""
