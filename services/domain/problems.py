"""The registry of problems: every code that any service of ours may answer with, what it means and what to do.

The api service has a page for each (`/docs/problems/<code>`), to which every error's body links. An error class whose
code is not here, or has another status, fails the tests.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One code: the HTTP status with which it comes, what has happened, and what a caller does about it."""

    code: str
    status: int
    title: str
    advice: str


_AGAIN = (
    "Send the same request again after `Retry-After` seconds, with the same Idempotency-Key if it is a POST."
)
_LOOK = "Read the object and see what state it is in before you try anything else."
_MISSING = "Check the id. What belongs to another organisation, or is not shared with you, is not there for you either."
_FIELDS = "`details.fields` says which field is wrong and why. Correct the input; sending it again as it is cannot succeed."
_PERSON = "A person has to mend this where it was set up; trying again does not help."
_OPERATOR = "The operators of this installation have to mend this. Give them the request id."

_TABLE: dict[int, dict[str, tuple[str, str]]] = {
    400: {
        "invalid": ("The input is not valid.", _FIELDS),
        "malformed_body": ("The body is not a JSON object that can be read.", "Send a JSON object with `Content-Type: application/json` and a Content-Length."),
        "unknown_field": ("The body or the query has fields that do not exist.", "`details.fields` names them. Leave them out, or look up how they are spelt."),
        "unsupported_field": ("The field is known, and what it asks for does not exist yet.", "Leave the field out."),
        "parse_error": ("The body cannot be parsed.", "Send a JSON object with `Content-Type: application/json`."),
        "prompt_invalid": ("The prompt is empty or too long.", "A prompt has 1 to 200,000 characters, not only white space."),
        "path_invalid": ("The path does not lie in the workspace.", "Give a path relative to the workspace, without `..`."),
        "schedule_invalid": ("The schedule cannot be read, or never comes.", "Use five cron fields and a time zone's name, such as `0 3 * * *` and `Europe/Berlin`."),
        "pattern_invalid": ("The pattern is none that can be matched with.", _FIELDS),
        "pattern_too_costly": ("The pattern could take too long to match.", "Use a simpler pattern, without nested repetition."),
        "argument_path_invalid": ("The path to a tool's argument cannot be read.", _FIELDS),
        "cursor_invalid": ("The cursor is not one of ours.", "Begin the list again without `cursor`, and pass `next` on as it is."),
        "config_invalid": ("The configuration is not usable.", _FIELDS),
        "oauth_refused": ("A client's authorization request was refused.", "The answer's `error` is the word of RFC 6749 for it."),
        "authorization_invalid": ("The authorization was not begun here, was used already, or took too long.", "Begin to connect again."),
        "model_not_allowed": ("The model is not allowed here.", "`GET /v1/llm/models` lists those that are. An admin changes the policy."),
        "llm_key_refused": ("The vendor does not take the key.", "Check the key with the vendor and send the right one."),
        "account_ambiguous": ("Several accounts could be meant.", "Name one of them; the message lists their names."),
        "bad_event_queue_id": ("There is no such event queue.", "Register a new queue and load what is shown anew."),
        "organisation_unclear": ("You are a member of several organisations.", "Name one: `X-Slipway-Org: <slug>` or `?org=<slug>`."),
        "unsupported_op": ("The connection has no such operation.", "The AsyncAPI document lists the operations."),
    },
    401: {
        "unauthenticated": ("Nobody is signed in.", "Send `Authorization: Bearer sw_…`, or sign in."),
        "token_invalid": ("The token is wrong, expired or revoked.", "Make a new token on the dashboard under Tokens."),
        "hook_unverified": ("The webhook's signature, secret or time is wrong.", "Sign the body as it is sent, with the secret that was shown, and keep the clock right: 300 seconds are allowed."),
    },
    403: {
        "not_permitted": ("You may see this, but not do it.", "Ask an admin of the organisation."),
        "permission_denied": ("You may see this, but not do it.", "Ask an admin of the organisation."),
        "scope_missing": ("The token has not the scope that this needs.", "`details.scope` names it. Make a token that has it."),
        "role_missing": ("Your role is not enough for this.", "`details.role` names the role. Ask somebody who has it."),
        "csrf_failed": ("A browser's session came without its CSRF token.", "Send the token of our own page in `X-CSRFToken`, or use an API token."),
        "not_granted": ("The agent has not been granted this.", "Its owner grants it in the agent's settings."),
        "not_the_decider": ("Somebody else decides this.", "The approval or question names who does."),
        "agent_not_owned": ("The agent is somebody else's.", "Ask its owner, or an admin."),
        "file_denied": ("The file's own permissions do not allow this.", "Let the agent, or a command in the workspace, change the permissions."),
        "account_not_granted": ("The account is not for this agent, or is switched off.", "Grant the account to the agent under Accounts."),
        "account_denied": ("The provider, or what was allowed of the account, does not permit this.", _PERSON),
        "last_owner": ("The organisation would be without an owner.", "Make somebody else an owner first."),
        "origin_refused": ("A page of another site tried to use the browser's session.", "Call from our own pages, or with a token."),
        "tool_withheld": ("The tool has changed since it was reviewed.", "Somebody reviews the MCP server's tools and approves them again."),
    },
    404: {
        "not_found": ("There is no such thing.", _MISSING),
        "agent_not_found": ("There is no such agent.", _MISSING),
        "agent_version_not_found": ("The agent has no such version.", "`GET /v1/agents/{agent_id}/versions` lists those that it has."),
        "agent_template_not_found": ("There is no such template.", "`GET /v1/agent_templates` lists them."),
        "webhook_not_found": ("There is no such webhook.", _MISSING),
        "webhook_delivery_not_found": ("There is no such delivery of a webhook.", _MISSING),
        "workspace_not_found": ("There is no such workspace.", _MISSING),
        "task_not_found": ("There is no such task.", _MISSING),
        "chat_not_found": ("There is no such chat.", _MISSING),
        "link_not_found": ("There is no such link.", _MISSING),
        "playbook_not_found": ("There is no such playbook.", _MISSING),
        "memory_not_found": ("There is no such note.", _MISSING),
        "skill_not_found": ("There is no such skill.", _MISSING),
        "command_not_found": ("There is no such command.", _MISSING),
        "file_missing": ("The workspace has no such file or folder.", "List the folder to see what is there."),
        "image_not_found": ("There is no such image.", _MISSING),
        "approval_not_found": ("There is no such approval.", _MISSING),
        "approval_rule_not_found": ("There is no such rule.", _MISSING),
        "llm_key_not_found": ("There is no such model key.", _MISSING),
        "budget_not_found": ("There is no such budget.", _MISSING),
        "llm_log_not_found": ("There is no such log of a model call.", _MISSING),
        "mcp_server_not_found": ("There is no such MCP server.", _MISSING),
        "integration_not_found": ("There is no such account.", _MISSING),
        "destination_not_found": ("There is no such destination.", _MISSING),
        "message_not_found": ("There is no such message.", _MISSING),
        "delivery_not_found": ("There is no such delivery.", _MISSING),
        "question_not_found": ("There is no such question.", _MISSING),
        "connected_app_not_found": ("There is no such connected app.", _MISSING),
        "oauth_client_not_found": ("There is no such OAuth client.", _MISSING),
        "invitation_not_found": ("There is no such invitation, or it is used, withdrawn or too old.", "Ask for a new one: each is good once, for seven days."),
        "device_code_not_found": ("There is no such code of a device, or it is used or too old.", "Begin again on the device: it shows a new code."),
        "not_an_image": ("The file is no picture that can be shown.", "Download the file instead."),
        "account_not_found": ("No account has that name.", "The message names those that there are."),
        "item_not_found": ("The account has no such thing.", "Search the account for it."),
        "volume_missing": ("The workspace's files are not there.", _OPERATOR),
        "object_not_found": ("The stored object is not there.", _OPERATOR),
        "terminal_not_found": ("There is no such terminal.", "Open a new one."),
    },
    405: {"method_not_allowed": ("The path has no such method.", "The reference lists the methods of each path.")},
    406: {"not_acceptable": ("There is no such representation.", "Answers are JSON. Leave `Accept` out.")},
    409: {
        "conflict": ("It exists, but not in a state that allows this.", _LOOK),
        "task_finished": ("The task has ended.", "Submit a new task in the same workspace to go on."),
        "workspace_archived": ("The workspace is archived.", "Restore it: `POST /v1/workspaces/{workspace_id}/restore`."),
        "workspace_busy": ("The workspace's sandbox is at work.", "Wait until its task has ended, or cancel it."),
        "workspace_not_running": ("The workspace has no sandbox now.", "Resume it: `POST /v1/workspaces/{workspace_id}/resume`."),
        "agent_archived": ("The agent is archived.", "Choose another agent, or make one from it: `POST /v1/agents/{agent_id}/clone`."),
        "idempotency_key_in_use": ("A request with this Idempotency-Key is under way.", "Wait and send the same request again: it gives the first one's answer."),
        "already_member": ("This person is a member already.", "Change their role instead."),
        "name_taken": ("Something with this name exists.", "Choose another name, or change what exists."),
        "webhook_disabled": ("The webhook is switched off.", "Switch it on first: `PATCH /v1/webhooks/{id}` with `is_enabled`."),
        "still_in_use": ("Something still uses it.", "Remove what uses it first."),
        "nothing_asked": ("The task waits for no answer.", _LOOK),
        "approval_closed": ("It was decided before, or nobody decided in time.", _LOOK),
        "memory_changed": ("The note is not the version that was read.", "Read it again, and make the change on what it says now."),
        "question_closed": ("It was answered before, nobody answered in time, or its work is over.", _LOOK),
        "message_gone": ("The message was never sent, or is deleted.", _LOOK),
        "not_on_this_platform": ("The platform of this chat cannot do this.", "`docs/chat-adapters.md` says what each platform can."),
        "nobody_to_notify": ("The work was started by no person.", "Send to a destination by its name."),
        "hook_replayed": ("A signed call came again without the Idempotency-Key of the first.", "Sign each call anew, or send the first one's Idempotency-Key."),
        "command_finished": ("The command has ended.", "Start a new one."),
        "sandbox_gone": ("The sandbox is gone, and the workspace keeps no files beyond it.", "Begin a new workspace."),
        "sandbox_not_live": ("The workspace's sandbox is not there now.", "Resume it first: `POST /v1/workspaces/{workspace_id}/resume`."),
        "file_exists": ("There is such a file or folder already.", "Choose another path, or remove what is there."),
        "file_changed": ("The file is not what it was when this began.", "Read it again and repeat the change."),
        "not_a_folder": ("The path is no folder.", "List the folder above it."),
        "is_a_folder": ("The path is a folder.", "Name a file."),
        "lease_lost": ("The work was taken over by somebody else.", "Nothing: whoever has it now goes on."),
        "mcp_server_in_sandbox": ("The server runs in sandboxes only.", "Only an agent at work can ask it anything."),
        "tools_changed_again": ("The tools are not those that were looked at.", "Look at them again, and approve what they are now."),
        "account_not_connected": ("No account of the kind is there for this agent.", "Somebody connects one under Accounts."),
        "item_changed": ("The thing was changed since it was read.", "Read it again and repeat the change."),
        "organisation_switched": ("The form was made for another organisation.", "Load the page again."),
        "event_queue_busy": ("Two requests ask for the events of one queue.", "Ask once at a time; the newer request goes on."),
        "journal_gap": ("An entry came before the one that it follows.", "The runner sends again from what is stored."),
        "needs_task": ("The tool does something with the task that is under way, and there is none.", "Use a tool that needs no task."),
        "rules_changed": ("The rules changed while the call was judged.", _AGAIN),
    },
    412: {
        "precondition_failed": ("The object is not the version that `If-Match` names.", "GET it again, look at what has changed, and repeat the change with its new `ETag`."),
    },
    413: {
        "body_too_large": ("The body is too large.", "`details.max_bytes` says what is taken, where it is known."),
        "file_too_large": ("The file is too large.", "Send a smaller one, or split it."),
    },
    415: {"unsupported_media_type": ("The body's Content-Type is not taken here.", "Send `Content-Type: application/json`.")},
    416: {"range_invalid": ("The file has no such bytes.", "Ask for its size first.")},
    422: {
        "idempotency_key_reused": ("The Idempotency-Key was used with another request.", "Use a new key for a new request; the same key is for sending the very same request again."),
    },
    429: {
        "limited": ("A limit is reached.", "`Retry-After` says when to come back; without it, a person has to raise the limit."),
        "rate_limited": ("Too many requests.", "Wait `Retry-After` seconds. `RateLimit` on every answer says what is left, so that you need never come here."),
        "budget_exceeded": ("The budget is spent.", "It starts anew with its period, or an admin raises it under Budgets."),
        "loop_stopped": ("Agents have passed work on to each other too often.", "A person looks at the tree of tasks and gives new work."),
        "queue_full": ("There is no room in the queue.", "Wait until some of the work is done."),
        "memory_full": ("The agent has as many notes as it may have.", "Delete some notes."),
        "account_throttled": ("The provider of the account wants fewer calls.", _AGAIN),
        "throttled": ("Too many requests.", "Wait `Retry-After` seconds."),
    },
    500: {
        "internal": ("Something of ours is broken.", "Give the operators the request id: it finds the failure in the log. A POST with an Idempotency-Key may be sent again."),
    },
    502: {
        "refused": ("A party outside refused for good.", _PERSON),
        "disk_full": ("The files need more room than the workspace has.", "Delete files, or give the agent a larger `disk_mb`."),
        "file_failed": ("The sandbox's file system refused.", "Look at the file with a command in the workspace."),
        "sandbox_image_missing": ("The image of the sandbox is not there.", _OPERATOR),
        "sandbox_refused": ("The engine refused to create the sandbox as asked.", _OPERATOR),
        "sandbox_promise_broken": ("The engine cannot keep a promise of isolation.", _OPERATOR),
        "sandbox_runtime_missing": ("The engine has no such runtime.", "Choose another `runtime` for the agent, or none."),
        "sandbox_pause_unsupported": ("The engine cannot freeze a sandbox.", "Stop it instead; it runs on meanwhile."),
        "image_build_failed": ("The agent's packages could not be installed.", "The image's log says why: `GET /v1/images/{image_id}`."),
        "image_build_timeout": ("Installing the agent's packages took too long.", "Ask for fewer packages."),
        "image_too_large": ("The agent's packages need too much room.", "Ask for fewer packages."),
        "images_unsupported": ("No images can be made here.", _OPERATOR),
        "storage_refused": ("Object storage refused for good.", _OPERATOR),
        "snapshot_corrupt": ("The stored copy of the files is not what was stored.", _OPERATOR),
        "snapshot_too_large": ("The files are too large to be copied.", "Delete files, sparse ones above all."),
        "push_gone": ("The browser is not subscribed any more.", "Subscribe again."),
        "platform_refused": ("The chat platform refused for good.", "Look at the link: the bot was removed, the chat is gone, or the token is revoked."),
        "shown_answer_stopped": ("Somebody stopped the answer with the platform's own button while it was written.", "Ask again: the turn was cancelled."),
        "mcp_server_unauthorised": ("The MCP server does not take the credential.", "Connect it again."),
        "mcp_server_refused": ("The MCP server, or what it says, is not to be used.", _PERSON),
        "account_unauthorised": ("The provider does not take the account's credentials.", "Connect the account again."),
        "account_refused": ("The provider refused the request.", _PERSON),
    },
    503: {
        "temporary": ("It did not work now.", _AGAIN),
        "engine_unavailable": ("The container engine does not answer.", _AGAIN),
        "no_sandbox_room": ("No host has a free slot now.", _AGAIN),
        "sandbox_starting": ("The workspace's sandbox is being woken.", _AGAIN),
        "sandbox_unreachable": ("The sandbox's runner does not answer.", _AGAIN),
        "sandbox_busy": ("The sandbox has no room for one more process.", _AGAIN),
        "storage_unavailable": ("Object storage does not answer.", _AGAIN),
        "copies_busy": ("The host is copying another volume.", _AGAIN),
        "files_in_use": ("A sandbox is at work on the files.", _AGAIN),
        "platform_throttled": ("The chat platform wants fewer requests.", _AGAIN),
        "platform_unavailable": ("The chat platform does not answer.", _AGAIN),
        "mcp_server_unreachable": ("The MCP server does not answer.", _AGAIN),
        "mcp_server_timeout": ("The MCP server did not answer in time; what it was asked may have been done.", "Look at what it did before you ask again."),
        "llm_key_unreachable": ("The vendor was not reached.", _AGAIN),
        "account_unreachable": ("The account's provider does not answer.", _AGAIN),
    },
}  # fmt: skip

PROBLEMS: dict[str, Problem] = {
    code: Problem(code, status, title, advice)
    for status, rows in sorted(_TABLE.items())
    for code, (title, advice) in sorted(rows.items())
}
"""Every problem by its code, in the order of statuses and codes."""
