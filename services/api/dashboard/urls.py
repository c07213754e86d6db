"""The dashboard's addresses."""

from __future__ import annotations

from django.urls import path

from services.api.dashboard.views import agents, chats, home, playbooks, settings, signin, workspace

app_name = "dashboard"

urlpatterns = [
    path("", home.home, name="home"),
    path("sign-in", signin.sign_in, name="sign-in"),
    path("sign-out", signin.sign_out, name="sign-out"),
    path("organisation", signin.choose_organisation, name="choose-organisation"),
    path("tickets", workspace.make_ticket, name="ticket"),
    path("workspaces/<uuid:workspace_id>", workspace.workspace, name="workspace"),
    path("workspaces/<uuid:workspace_id>/prompt", workspace.send_prompt, name="prompt"),
    path("workspaces/<uuid:workspace_id>/tasks/<uuid:task_id>/stop", workspace.stop_task, name="stop"),
    path("workspaces/<uuid:workspace_id>/rename", workspace.rename, name="workspace-rename"),
    path("workspaces/<uuid:workspace_id>/archive", workspace.archive, name="workspace-archive"),
    path("workspaces/<uuid:workspace_id>/delete", workspace.delete, name="workspace-delete"),
    path("agents", agents.agents, name="agents"),
    path("agents/new", agents.new_agent, name="agent-new"),
    path("agents/<uuid:agent_id>", agents.agent, name="agent"),
    path("agents/<uuid:agent_id>/archive", agents.archive, name="agent-archive"),
    path("playbooks", playbooks.playbooks, name="playbooks"),
    path("playbooks/new", playbooks.new_playbook, name="playbook-new"),
    path("playbooks/<uuid:playbook_id>", playbooks.playbook, name="playbook"),
    path("playbooks/<uuid:playbook_id>/run", playbooks.run, name="playbook-run"),
    path("playbooks/<uuid:playbook_id>/switch", playbooks.switch, name="playbook-switch"),
    path("playbooks/<uuid:playbook_id>/delete", playbooks.delete, name="playbook-delete"),
    path("links", chats.links, name="links"),
    path("links/new/<slug:kind>", chats.new_link, name="link-new"),
    path("links/<uuid:link_id>", chats.link, name="link"),
    path("links/<uuid:link_id>/connect", chats.connect, name="link-connect"),
    path("links/<uuid:link_id>/delete", chats.delete, name="link-delete"),
    path("chats/<uuid:chat_id>/wire", chats.wire, name="wiring-new"),
    path("wirings/<uuid:wiring_id>", chats.wiring, name="wiring"),
    path("wirings/<uuid:wiring_id>/delete", chats.unwire, name="wiring-delete"),
    path("deliveries", chats.deliveries, name="deliveries"),
    path("deliveries/<uuid:delivery_id>/retry", chats.retry, name="delivery-retry"),
    path("secrets", settings.secrets, name="secrets"),
    path("secrets/<uuid:secret_id>/delete", settings.remove_secret, name="secret-delete"),
    path("settings/tokens", settings.tokens, name="tokens"),
    path("settings/tokens/<uuid:token_id>/revoke", settings.remove_token, name="token-revoke"),
    path("settings/members", settings.members, name="members"),
    path("settings/members/<uuid:user_id>/remove", settings.remove, name="member-remove"),
]
