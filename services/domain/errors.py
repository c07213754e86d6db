"""Every error that a person, a program or an agent can be shown.

The tree::

    SlipwayError
    ├── Missing          404   the object does not exist, or not for this actor
    ├── Conflict         409   it exists, but not in a state that allows this
    ├── NotPermitted     403   the actor may see it, but may not do this
    ├── Unauthenticated  401   nobody, or nobody any more
    ├── Invalid          400   the input itself is wrong
    ├── Limited          429   a limit or a budget is reached (retry_after_s)
    ├── Temporary        503   it may work when tried again (retry_after_s)
    └── Permanent        502   a party outside refused for good

Each leaf has a stable `code`. Messages are safe to show to whoever made the call: they name no other
tenant's objects, no credentials and no internals.
"""

from __future__ import annotations

from typing import Any, ClassVar


class SlipwayError(Exception):
    """The root: a stable code, a status for HTTP, a message that is safe to show, and typed details."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Missing(SlipwayError):
    code = "not_found"
    status = 404


class Conflict(SlipwayError):
    code = "conflict"
    status = 409


class NotPermitted(SlipwayError):
    code = "not_permitted"
    status = 403


class Unauthenticated(SlipwayError):
    code = "unauthenticated"
    status = 401


class Invalid(SlipwayError):
    """The input is wrong. `details["fields"]` maps a field to what is wrong with it, where fields are known."""

    code = "invalid"
    status = 400


class Limited(SlipwayError):
    """A limit is reached; `retry_after_s` says when to come back, None when only a person can change it."""

    code = "limited"
    status = 429

    def __init__(self, message: str, *, retry_after_s: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after_s = retry_after_s


class Temporary(SlipwayError):
    """It may work when tried again, not before `retry_after_s` seconds."""

    code = "temporary"
    status = 503

    def __init__(self, message: str, *, retry_after_s: float = 1.0, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after_s = retry_after_s


class Permanent(SlipwayError):
    code = "refused"
    status = 502


# --- Missing -----------------------------------------------------------------------------------------


class AgentMissing(Missing):
    code = "agent_not_found"


class AgentVersionMissing(Missing):
    code = "agent_version_not_found"


class AgentTemplateMissing(Missing):
    code = "agent_template_not_found"


class SkillMissing(Missing):
    code = "skill_not_found"


class WorkspaceMissing(Missing):
    code = "workspace_not_found"


class WebhookMissing(Missing):
    code = "webhook_not_found"


class WebhookDeliveryMissing(Missing):
    code = "webhook_delivery_not_found"


class DeviceCodeMissing(Missing):
    code = "device_code_not_found"


class TaskMissing(Missing):
    code = "task_not_found"


class ChatMissing(Missing):
    code = "chat_not_found"


class LinkMissing(Missing):
    code = "link_not_found"


class PlaybookMissing(Missing):
    code = "playbook_not_found"


class MemoryMissing(Missing):
    code = "memory_not_found"


class CommandMissing(Missing):
    code = "command_not_found"


class FileMissing(Missing):
    """The workspace has no such file or folder."""

    code = "file_missing"


class AgentImageMissing(Missing):
    code = "image_not_found"


class ApprovalMissing(Missing):
    code = "approval_not_found"


class ApprovalRuleMissing(Missing):
    code = "approval_rule_not_found"


class LlmKeyMissing(Missing):
    code = "llm_key_not_found"


class BudgetMissing(Missing):
    code = "budget_not_found"


class CallLogMissing(Missing):
    code = "llm_log_not_found"


class UpstreamMissing(Missing):
    code = "mcp_server_not_found"


class IntegrationMissing(Missing):
    code = "integration_not_found"


class DestinationMissing(Missing):
    code = "destination_not_found"


class ChatMessageMissing(Missing):
    code = "message_not_found"


class DeliveryMissing(Missing):
    code = "delivery_not_found"


class QuestionMissing(Missing):
    code = "question_not_found"


class ConnectedAppMissing(Missing):
    code = "connected_app_not_found"


class OAuthClientMissing(Missing):
    code = "oauth_client_not_found"


class InvitationMissing(Missing):
    """The invitation is unknown, used, revoked or too old; all alike."""

    code = "invitation_not_found"


# --- Conflict ----------------------------------------------------------------------------------------


class WebhookDisabled(Conflict):
    code = "webhook_disabled"


class TaskFinished(Conflict):
    code = "task_finished"


class WorkspaceArchived(Conflict):
    code = "workspace_archived"


class WorkspaceBusy(Conflict):
    """The workspace's sandbox is at work: what was asked for waits until that is done, or cancelled."""

    code = "workspace_busy"


class WorkspaceNotRunning(Conflict):
    """The workspace has no sandbox now."""

    code = "workspace_not_running"


class AgentArchived(Conflict):
    code = "agent_archived"


class IdempotencyKeyInUse(Conflict):
    """The request with this key is under way. Trying again gives its answer."""

    code = "idempotency_key_in_use"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PreconditionFailed(Conflict):
    """The object is not the version that the caller names."""

    code = "precondition_failed"
    status = 412


class NameTaken(Conflict):
    code = "name_taken"


class AlreadyMember(Conflict):
    code = "already_member"


class StillInUse(Conflict):
    code = "still_in_use"


class NothingAsked(Conflict):
    """An answer came for a task that waits for none."""

    code = "nothing_asked"


class ApprovalClosed(Conflict):
    """It was decided before, or nobody decided it in time."""

    code = "approval_closed"


class MemoryChanged(Conflict):
    """The note is not the version that was read."""

    code = "memory_changed"


class QuestionClosed(Conflict):
    """It was answered before, nobody answered it in time, or the work that asked it is over."""

    code = "question_closed"


class MessageGone(Conflict):
    """The message was never sent, or is deleted."""

    code = "message_gone"


class AbilityMissing(Conflict):
    """The platform of this chat cannot do this."""

    code = "not_on_this_platform"


class NobodyToNotify(Conflict):
    """The work was started by no person, so there is nobody to tell."""

    code = "nobody_to_notify"


class HookReplayed(Conflict):
    """A signed call was sent again without the Idempotency-Key that would make it the same call."""

    code = "hook_replayed"


class CommandFinished(Conflict):
    code = "command_finished"


class SandboxGone(Conflict):
    """The workspace keeps no files beyond its sandbox, and that is gone."""

    code = "sandbox_gone"


class SandboxNotLive(Conflict):
    """The workspace's sandbox is not there now. It has to be resumed first."""

    code = "sandbox_not_live"


class FileExists(Conflict):
    code = "file_exists"


class NotAFolder(Conflict):
    code = "not_a_folder"


class IsAFolder(Conflict):
    code = "is_a_folder"


class FileChanged(Conflict):
    """The file is not what it was when this began."""

    code = "file_changed"


class LeaseLost(Conflict):
    """The work was taken over: whoever raises this drops its result."""

    code = "lease_lost"


# --- Unauthenticated, NotPermitted -------------------------------------------------------------------


class TokenInvalid(Unauthenticated):
    code = "token_invalid"


class HookUnverified(Unauthenticated):
    """A webhook's signature, secret or time is wrong."""

    code = "hook_unverified"


class ScopeMissing(NotPermitted):
    code = "scope_missing"


class RoleMissing(NotPermitted):
    code = "role_missing"


class LastOwner(NotPermitted):
    """An organisation keeps at least one owner."""

    code = "last_owner"


class NotGranted(NotPermitted):
    """The agent's owner has not granted it this."""

    code = "not_granted"


class NotTheDecider(NotPermitted):
    """Somebody else is named to decide this, or the person that the work is for cannot decide it alone."""

    code = "not_the_decider"


class AgentNotOwned(NotPermitted):
    code = "agent_not_owned"


class FileDenied(NotPermitted):
    """The file's own permissions do not let the platform do this."""

    code = "file_denied"


# --- Invalid -----------------------------------------------------------------------------------------


class IdempotencyKeyReused(Invalid):
    """The same key came with another request."""

    code = "idempotency_key_reused"
    status = 422


class MalformedBody(Invalid):
    code = "malformed_body"


class UnknownField(Invalid):
    code = "unknown_field"


class UnsupportedField(Invalid):
    """The field is known, and what it asks for does not exist yet."""

    code = "unsupported_field"


class BodyTooLarge(Invalid):
    code = "body_too_large"
    status = 413


class FileTooLarge(BodyTooLarge):
    code = "file_too_large"


class PathInvalid(Invalid):
    code = "path_invalid"


class RangeInvalid(Invalid):
    """The file has no such bytes."""

    code = "range_invalid"
    status = 416


class PromptInvalid(Invalid):
    code = "prompt_invalid"


class ScheduleInvalid(Invalid):
    code = "schedule_invalid"


class PatternInvalid(Invalid):
    """A rule's pattern is none that can be matched with."""

    code = "pattern_invalid"


class PatternTooCostly(Invalid):
    code = "pattern_too_costly"


class ArgumentPathInvalid(Invalid):
    code = "argument_path_invalid"


class OAuthRefused(Invalid):
    """A client's request was refused; `error` is the word for it. Source: RFC 6749, sections 4.1.2.1 and 5.2."""

    code = "oauth_refused"

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class CursorInvalid(Invalid):
    code = "cursor_invalid"


class ConfigInvalid(Invalid):
    code = "config_invalid"


# --- Limited -----------------------------------------------------------------------------------------


class BudgetExceeded(Limited):
    code = "budget_exceeded"


class RateLimited(Limited):
    code = "rate_limited"


class LoopStopped(Limited):
    """Agents have passed work on to each other too often, or too much of it."""

    code = "loop_stopped"


class QueueFull(Limited):
    code = "queue_full"


class MemoryFull(Limited):
    code = "memory_full"


# --- Sandboxes ---------------------------------------------------------------------------------------


class EngineAway(Temporary):
    """The container engine does not answer."""

    code = "engine_unavailable"


class NoRoom(Temporary):
    """No host has a free slot now."""

    code = "no_sandbox_room"


class SandboxStarting(Temporary):
    """The workspace's sandbox is being woken, and is not there yet."""

    code = "sandbox_starting"


class SandboxUnreachable(Temporary):
    """The sandbox is there, but its runner does not answer."""

    code = "sandbox_unreachable"


class SandboxBusy(Temporary):
    """The sandbox has no room for one more process, thread or terminal."""

    code = "sandbox_busy"


class ImageMissing(Permanent):
    code = "sandbox_image_missing"


class SandboxRefused(Permanent):
    """The engine refused to create the sandbox as asked; nothing weaker is started in its place."""

    code = "sandbox_refused"


class PromiseBroken(SandboxRefused):
    """This engine cannot keep a promise of isolation, and no operator has accepted that."""

    code = "sandbox_promise_broken"


class RuntimeMissing(SandboxRefused):
    """The engine has no runtime class of this name."""

    code = "sandbox_runtime_missing"


class ImageBuildFailed(Permanent):
    """The packages could not be installed. The build's log, which its owner may read, says why."""

    code = "image_build_failed"


class ImageBuildTimeout(Permanent):
    code = "image_build_timeout"


class ImageTooLarge(Permanent):
    code = "image_too_large"


class ImagesUnsupported(Permanent):
    """The sandboxes of this installation start from no images, or none can be made where they run."""

    code = "images_unsupported"


class PauseUnsupported(SandboxRefused):
    """This engine cannot freeze a sandbox; it runs on."""

    code = "sandbox_pause_unsupported"


class VolumeMissing(Missing):
    code = "volume_missing"


class VolumeFull(Permanent):
    """The files need more room than the workspace has."""

    code = "disk_full"


# --- Object storage ----------------------------------------------------------------------------------


class StorageAway(Temporary):
    """Object storage does not answer, or has no room now."""

    code = "storage_unavailable"


class StorageRefused(Permanent):
    """Object storage refused for good: the bucket is not there, the key is not allowed, the rights are missing."""

    code = "storage_refused"


class ObjectMissing(Missing):
    code = "object_not_found"


class CopiesBusy(Temporary):
    """This host is copying another volume; it copies one at a time."""

    code = "copies_busy"


class FilesInUse(Temporary):
    """A sandbox is at work on the files, so that they cannot be taken away."""

    code = "files_in_use"


class SnapshotCorrupt(Permanent):
    """The stored copy of a workspace's files is not what was stored. Nothing is restored from it."""

    code = "snapshot_corrupt"


class SnapshotTooLarge(Permanent):
    """A volume gives more bytes than its room can hold, by sparse files perhaps: no copy of it is made."""

    code = "snapshot_too_large"


# --- Chat platforms ----------------------------------------------------------------------------------


class PlatformThrottled(Temporary):
    """The platform said: too many requests, come back after `retry_after_s`."""

    code = "platform_throttled"


class PlatformAway(Temporary):
    code = "platform_unavailable"


class PushGone(Permanent):
    """The browser is not subscribed any more, its push service says."""

    code = "push_gone"


class PlatformRefused(Permanent):
    """The platform refused for good: the bot was removed, the chat is gone, the token is revoked."""

    code = "platform_refused"


class ShownAnswerStopped(PlatformRefused):
    """Somebody stopped an answer with the platform's own button while it was shown there, being written."""

    code = "shown_answer_stopped"


# --- MCP servers of others ---------------------------------------------------------------------------


class UpstreamAway(Temporary):
    """The server does not answer, or breaks off."""

    code = "mcp_server_unreachable"


class UpstreamSlow(Temporary):
    """The server did not answer in time. What it was asked to do may have been done."""

    code = "mcp_server_timeout"


class UpstreamUnauthorised(Permanent):
    """The server does not take the credential, or there is none. Only a person can mend that."""

    code = "mcp_server_unauthorised"


class UpstreamRefused(Permanent):
    """The server, or what it says, is not to be used: its address, its answer, its way of authorization."""

    code = "mcp_server_refused"


class AuthorizationInvalid(Invalid):
    """An authorization that nobody began here, that was used, or that took too long."""

    code = "authorization_invalid"


class UpstreamInSandbox(Conflict):
    """The server runs in sandboxes only: nobody but the agent at work can ask it anything."""

    code = "mcp_server_in_sandbox"


class ToolsChangedAgain(Conflict):
    """The tools are not those that were looked at."""

    code = "tools_changed_again"


# --- models ------------------------------------------------------------------------------------------


class ModelNotAllowed(Invalid):
    """The organisation, the platform or the agent does not allow the model."""

    code = "model_not_allowed"


class LlmKeyRefused(Invalid):
    """The vendor does not take the key."""

    code = "llm_key_refused"


class LlmKeyUnreachable(Temporary):
    """The vendor was not reached, so that nobody knows whether the key is good."""

    code = "llm_key_unreachable"


# --- accounts elsewhere ------------------------------------------------------------------------------


class AccountNotConnected(Conflict):
    """No account of the kind is there for this agent. Only a person can mend that."""

    code = "account_not_connected"


class AccountMissing(Missing):
    """No account has that name. The message names those that there are."""

    code = "account_not_found"


class AccountAmbiguous(Invalid):
    """There are several accounts, and the call names none."""

    code = "account_ambiguous"


class AccountNotGranted(NotPermitted):
    """The account is there and not for this agent, or it is switched off."""

    code = "account_not_granted"


class AccountUnauthorised(Permanent):
    """The provider does not take the credentials, or there are none. Only a person can mend that."""

    code = "account_unauthorised"


class AccountDenied(NotPermitted):
    """The provider, or what a person allowed of the account, does not permit this."""

    code = "account_denied"


class AccountAway(Temporary):
    """The provider does not answer, or breaks off."""

    code = "account_unreachable"


class AccountThrottled(Limited):
    """The provider wants fewer calls (retry_after_s)."""

    code = "account_throttled"


class AccountRefused(Permanent):
    """The provider refused the request, or its answer is not to be understood."""

    code = "account_refused"


class ItemMissing(Missing):
    """The account has no such thing: message, thread, issue, file."""

    code = "item_not_found"


class ItemChanged(Conflict):
    """A thing of the account was changed since it was read."""

    code = "item_changed"
