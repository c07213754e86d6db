"""What the api service's settings take over as UNFOLD: title, colours, navigation, the page of counts."""

from __future__ import annotations

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy


def _entry(title: str, icon: str, name: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{name}_changelist")}


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Slipway desk",
    "SITE_HEADER": "Slipway",
    "SITE_SUBHEADER": "Operators' desk",
    "SITE_SYMBOL": "sailing",
    "SITE_URL": "/",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _: static("dashboard/favicon.svg")}
    ],
    "DASHBOARD_CALLBACK": "services.api.admin_desk.overview.add_overview",
    "COLORS": {
        "primary": {
            "50": "#eef3ff",
            "100": "#dce6ff",
            "200": "#bccffe",
            "300": "#96b0ff",
            "400": "#7d9dff",
            "500": "#4f76e8",
            "600": "#2f5bd7",
            "700": "#264db9",
            "800": "#213f93",
            "900": "#1d3675",
            "950": "#141f44",
        }
    },
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": [
            {
                "title": "At work",
                "items": [
                    {"title": "Overview", "icon": "dashboard", "link": reverse_lazy("admin:index")},
                    _entry("Tasks", "task_alt", "tasks_task"),
                    _entry("Sandboxes", "deployed_code", "plane_sandbox"),
                    _entry("Hosts", "dns", "plane_host"),
                    _entry("Volumes", "hard_drive", "plane_volume"),
                    _entry("Deliveries", "send", "chats_delivery"),
                    _entry("Outbox", "outbox", "outbox_outboxjob"),
                    _entry("Dead jobs", "skull", "outbox_deadjob"),
                ],
            },
            {
                "title": "Tenants",
                "separator": True,
                "items": [
                    _entry("Organisations", "domain", "identity_organisation"),
                    _entry("People", "person", "identity_user"),
                    _entry("Memberships", "group", "identity_membership"),
                    _entry("API tokens", "key", "identity_apitoken"),
                    _entry("Agents", "smart_toy", "agents_agent"),
                    _entry("Workspaces", "forum", "workspaces_workspace"),
                    _entry("Playbooks", "schedule", "playbooks_playbook"),
                    _entry("Links", "link", "chats_link"),
                    _entry("Chats", "chat", "chats_chat"),
                    _entry("Secrets", "lock", "vault_secret"),
                ],
            },
            {
                "title": "Models",
                "separator": True,
                "collapsible": True,
                "items": [
                    _entry("Bounds", "rule", "llm_platformmodels"),
                    _entry("Prices", "sell", "llm_modelprice"),
                    _entry("Rules", "gavel", "llm_llmpolicy"),
                    _entry("Keys", "vpn_key", "llm_llmkey"),
                    _entry("Budgets", "savings", "llm_budget"),
                ],
            },
            {
                "title": "Records",
                "separator": True,
                "collapsible": True,
                "items": [
                    _entry("Events", "list", "events_event"),
                    _entry("Usage", "payments", "tasks_usagerecord"),
                    _entry("Playbook runs", "history", "playbooks_playbookrun"),
                    _entry("Inbound messages", "inbox", "chats_inboundmessage"),
                    _entry("Wirings", "cable", "chats_wiring"),
                ],
            },
        ],
    },
}
