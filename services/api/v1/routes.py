"""Every path of `/v1`, in the order of the documentation. The OpenAPI document is made from this table."""

from __future__ import annotations

from services.api.http.operations import Endpoint
from services.api.v1 import agents, chats, identity, memories, playbooks, secrets, tasks, workspaces

ROUTES: tuple[tuple[str, type[Endpoint]], ...] = (
    ("me", identity.Me),
    ("tasks", tasks.Tasks),
    ("tasks/<uuid:task_id>", tasks.OneTask),
    ("tasks/<uuid:task_id>/cancel", tasks.TaskCancel),
    ("tasks/<uuid:task_id>/answer", tasks.TaskAnswer),
    ("agents", agents.Agents),
    ("agents/<uuid:agent_id>", agents.OneAgent),
    ("workspaces", workspaces.Workspaces),
    ("workspaces/<uuid:workspace_id>", workspaces.OneWorkspace),
    ("workspaces/<uuid:workspace_id>/archive", workspaces.WorkspaceArchive),
    ("workspaces/<uuid:workspace_id>/events", workspaces.WorkspaceEvents),
    ("playbooks", playbooks.Playbooks),
    ("playbooks/<uuid:playbook_id>", playbooks.OnePlaybook),
    ("playbooks/<uuid:playbook_id>/run", playbooks.PlaybookRunNow),
    ("playbooks/<uuid:playbook_id>/runs", playbooks.PlaybookRuns),
    ("secrets", secrets.Secrets),
    ("secrets/<uuid:secret_id>", secrets.OneSecret),
    ("links", chats.Links),
    ("links/<uuid:link_id>", chats.OneLink),
    ("links/<uuid:link_id>/connect", chats.LinkConnect),
    ("chats", chats.Chats),
    ("chats/<uuid:chat_id>", chats.OneChat),
    ("wirings", chats.Wirings),
    ("wirings/<uuid:wiring_id>", chats.OneWiring),
    ("deliveries", chats.Deliveries),
    ("deliveries/<uuid:delivery_id>/retry", chats.DeliveryRetry),
    ("memories", memories.Memories),
    ("memories/<uuid:memory_id>", memories.OneMemory),
    ("tokens", identity.Tokens),
    ("tokens/<uuid:token_id>", identity.OneToken),
    ("members", identity.Members),
    ("members/<uuid:user_id>", identity.OneMember),
    ("tickets", identity.Tickets),
)
