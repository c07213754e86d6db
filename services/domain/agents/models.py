"""Agents: the templates from which workspaces are made."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from services.domain.identity.models import User
from services.domain.tenancy.models import TenantModel
from services.kit.clock import now

DEFAULT_MCP_SERVERS = ["memory", "notify", "chat", "platform"]


def default_mcp_servers() -> list[str]:
    """Return the MCP servers that a new agent may use."""
    return list(DEFAULT_MCP_SERVERS)


class Provider(models.TextChoices):
    """What runs inside the sandbox. Each is a folder in `agent_image/providers`."""

    SHELL = "shell"
    CLAUDE = "claude"
    CODEX = "codex"
    OPENCODE = "opencode"
    SCRIPTED = "scripted"


class WhenBusy(models.TextChoices):
    """What becomes of a message in a chat while the agent works on an earlier one there: it goes into the turn at work,
    waits for its end, takes its place, or is not taken, which its writer is told."""

    STEER = "steer"
    QUEUE = "queue"
    INTERRUPT = "interrupt"
    REJECT = "reject"


class Agent(TenantModel):
    """A template: provider and model, instructions, grants and limits. Money is in micro-dollars.

    `allowed_models` None means all that the organisation allows; patterns narrow it. `effort` empty means its default.
    `image` is the derived image with the agent's packages, once it is built; empty means its provider's own.
    `owner` is the person who made it, or for whom the agent `made_by` did; one that is not shared is theirs alone.
    `reads_all_memories` and `installs_packages` are what its owner lets it do without asking.
    """

    name = models.CharField(max_length=80)
    slug = models.SlugField(max_length=60)
    description = models.CharField(max_length=300, blank=True)
    provider = models.CharField(max_length=20, choices=Provider.choices, default=Provider.SHELL)
    model = models.CharField(max_length=100, blank=True)
    effort = models.CharField(max_length=6, blank=True)
    allowed_models = ArrayField(models.CharField(max_length=100), null=True, blank=True)
    instructions = models.TextField(blank=True)
    tools = models.JSONField(null=True, blank=True)
    mcp_servers = ArrayField(models.CharField(max_length=60), default=default_mcp_servers, blank=True)
    max_turns = models.PositiveIntegerField(null=True, blank=True)
    timeout_s = models.PositiveIntegerField(default=900)
    max_budget_microusd = models.BigIntegerField(null=True, blank=True)
    memory_mb = models.PositiveIntegerField(default=1024)
    cpus = models.FloatField(default=1.0)
    disk_mb = models.PositiveIntegerField(default=2048)
    pids = models.PositiveIntegerField(default=256)
    runtime = models.CharField(max_length=60, blank=True)
    idle_pause_s = models.PositiveIntegerField(default=120)
    idle_stop_s = models.PositiveIntegerField(default=600)
    archive_after_s = models.PositiveIntegerField(null=True, blank=True, default=2_592_000)
    skills = ArrayField(models.CharField(max_length=60), default=list, db_default=[], blank=True)
    output_schema = models.JSONField(null=True, blank=True)
    egress = models.JSONField(default=list, blank=True)
    packages = models.JSONField(default=dict, blank=True)
    image = models.CharField(max_length=200, blank=True, editable=False)
    owner = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    made_by = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    is_shared = models.BooleanField(default=True)
    reads_all_memories = models.BooleanField(default=False)
    installs_packages = models.BooleanField(default=False)
    when_busy = models.CharField(
        max_length=9, choices=WhenBusy.choices, default=WhenBusy.STEER, db_default=WhenBusy.STEER
    )
    version = models.PositiveIntegerField(default=1, db_default=1, editable=False)
    updated_at = models.DateTimeField(default=now)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "agent"
        constraints = [models.UniqueConstraint(fields=["org_id", "slug"], name="agent_slug_once")]

    def __str__(self) -> str:
        return self.name


class AgentVersion(TenantModel):
    """What an agent was set to at one time, as `AgentFields` in JSON. Never changed: whoever sets something makes a
    new one, also who goes back to an earlier one (`restores`)."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    values = models.JSONField()
    restores = models.PositiveIntegerField(null=True)
    made_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        db_table = "agent_version"
        constraints = [models.UniqueConstraint(fields=["agent", "number"], name="agent_version_once")]


class AgentRole(models.TextChoices):
    """What a person is to an agent: one who may use it though it is not shared, or one who changes it as its owner."""

    ADMIN = "admin"
    MEMBER = "member"


class AgentPerson(TenantModel):
    """A person's role with one agent, beside that in the organisation."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="people")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    role = models.CharField(max_length=6, choices=AgentRole.choices)

    class Meta:
        db_table = "agent_person"
        constraints = [models.UniqueConstraint(fields=["agent", "user"], name="agent_person_once")]
        indexes = [models.Index(fields=["user"], name="agent_person_of_user")]
