"""Why a message was answered or not, in words: what each reason of a decision means."""

from __future__ import annotations

_REASONS = {
    # The rules of wirings.
    "always": "it answers everything here",
    "mentioned": "it was spoken to",
    "mentioned_before": "it was spoken to before, in this thread or by this person",
    "not_mentioned": "it was not spoken to",
    "pattern_matched": "the text matches its pattern",
    "pattern_not_matched": "the text does not match its pattern",
    "pattern_invalid": "its pattern cannot be used",
    "command": "the message is its command",
    "not_the_command": "the message is not its command",
    "never": "it only listens here",
    "disabled": "the wiring is switched off",
    "bot": "a bot wrote this, and it answers none",
    "bot_turns_used": "it has answered enough messages of bots since a person spoke",
    "sender_not_known": "it answers people who are known",
    "sender_no_member": "it answers members",
    "sender_not_named": "it answers certain people",
    "quiet_hours": "these are its quiet hours",
    "outranked": "an exclusive wiring before it answers",
    # The gate.
    "member": "a member wrote this",
    "allowed": "an admin lets this person in",
    "let_in": "an admin let this message in",
    "public": "this bot answers anybody",
    "context": "nobody was asked for an answer",
    "unknown_sender": "nobody here knows who wrote this, or an admin refuses them",
    "unknown_sender_strict": "nobody here knows who wrote this, and this bot asks nobody",
}


def explain_reason(reason: str) -> str:
    """Return what a reason means, the reason itself where there are no words for it."""
    return _REASONS.get(reason, reason.replace("_", " "))
