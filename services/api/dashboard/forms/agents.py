"""Making and changing an agent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm, lines_of
from services.domain.agents.models import DEFAULT_MCP_SERVERS, Agent, Provider

MICRO = Decimal(1_000_000)
_PROVIDERS = {
    Provider.SHELL: "Shell: runs the prompt's commands, no model",
    Provider.CLAUDE: "Claude: the Claude Agent SDK",
    Provider.SCRIPTED: "Scripted: fixed answers, for trying things",
}
_MCP_SERVERS = {
    "memory": "Memory: remembers notes between tasks",
    "notify": "Notify: sends a notice to people",
    "platform": "Platform: submits tasks to other agents and waits for them",
}


class AgentForm(DomainForm):
    """What a person may set on an agent. Money is typed in dollars, kept in micro-dollars."""

    name = forms.CharField(max_length=80, help_text="What people see.")
    description = forms.CharField(
        max_length=300, required=False, help_text="What it is for, in one sentence."
    )
    provider = forms.ChoiceField(choices=[(value.value, label) for value, label in _PROVIDERS.items()])
    model = forms.CharField(
        max_length=100, required=False, help_text="Empty for the provider's default. The shell has no model."
    )
    instructions = forms.CharField(
        max_length=100_000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 8, "class": "code"}),
        help_text="What the agent is told before each task.",
    )
    tools = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "code"}),
        help_text="Names of the tools that it may use, one a line. Empty for all.",
    )
    mcp_servers = forms.MultipleChoiceField(
        label="MCP servers",
        required=False,
        choices=[(name, _MCP_SERVERS.get(name, name)) for name in DEFAULT_MCP_SERVERS],
        widget=forms.CheckboxSelectMultiple,
        initial=DEFAULT_MCP_SERVERS,
    )
    timeout_s = forms.IntegerField(
        label="Time limit (seconds)", min_value=1, max_value=86_400, initial=900, help_text="For one task."
    )
    max_turns = forms.IntegerField(
        label="Most turns", min_value=1, max_value=10_000, required=False, help_text="Empty for no limit."
    )
    max_budget_usd = forms.DecimalField(
        label="Budget for a task (US$)",
        min_value=Decimal(0),
        max_value=Decimal(1_000_000),
        decimal_places=6,
        required=False,
        help_text="Model calls beyond it are refused. Empty for no limit.",
    )
    memory_mb = forms.IntegerField(label="Memory (MB)", min_value=64, max_value=65_536, initial=1024)
    cpus = forms.FloatField(label="CPUs", min_value=0.1, max_value=64, initial=1.0)
    idle_stop_s = forms.IntegerField(
        label="Stop when idle for (seconds)",
        min_value=0,
        max_value=604_800,
        initial=600,
        help_text="How long the sandbox stays warm after a task. Its files are kept.",
    )

    basics = ("name", "description", "provider", "model", "instructions")
    abilities = ("mcp_servers", "tools")
    limits = ("timeout_s", "max_turns", "max_budget_usd", "memory_mb", "cpus", "idle_stop_s")

    @classmethod
    def initial_of(cls, agent: Agent) -> dict[str, Any]:
        """Return the form's values for an agent."""
        initial = {name: getattr(agent, name) for name in cls.base_fields if hasattr(agent, name)}
        initial["tools"] = "\n".join(agent.tools or [])
        budget = agent.max_budget_microusd
        initial["max_budget_usd"] = None if budget is None else f"{Decimal(budget) / MICRO:f}"
        return initial

    def values(self) -> dict[str, Any]:
        """Return the fields of `AgentFields`."""
        values = super().values()
        budget = values.pop("max_budget_usd")
        values["max_budget_microusd"] = None if budget is None else int(budget * MICRO)
        values["tools"] = lines_of(values["tools"]) or None
        return values

    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        """Return the fields in the groups of the page."""
        rows = (("Agent", self.basics), ("Abilities", self.abilities), ("Limits", self.limits))
        return [(title, [self[name] for name in names]) for title, names in rows]
