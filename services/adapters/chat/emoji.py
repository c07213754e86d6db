"""Emoji by the short names that people know: those that every platform of ours takes as a reaction."""

from __future__ import annotations

import re

from services.kit.emoji import bare, is_emoji

_NAME = re.compile(r":?([a-z0-9_+-]{1,80}):?")

# Telegram takes these and no others from a bot; the names are those of Slack.
# Source: https://core.telegram.org/bots/api#reactiontypeemoji
NAMES = {
    "👍": "thumbsup",
    "👎": "thumbsdown",
    "❤": "heart",
    "🔥": "fire",
    "🥰": "smiling_face_with_3_hearts",
    "👏": "clap",
    "😁": "grin",
    "🤔": "thinking_face",
    "🤯": "exploding_head",
    "😱": "scream",
    "😢": "cry",
    "🎉": "tada",
    "🤩": "star-struck",
    "🙏": "pray",
    "👌": "ok_hand",
    "🕊": "dove_of_peace",
    "🥱": "yawning_face",
    "🥴": "woozy_face",
    "😍": "heart_eyes",
    "🐳": "whale",
    "🌚": "new_moon_with_face",
    "🌭": "hotdog",
    "💯": "100",
    "🤣": "rolling_on_the_floor_laughing",
    "⚡": "zap",
    "🍌": "banana",
    "🏆": "trophy",
    "💔": "broken_heart",
    "🤨": "face_with_raised_eyebrow",
    "😐": "neutral_face",
    "🍓": "strawberry",
    "🍾": "champagne",
    "😴": "sleeping",
    "😭": "sob",
    "🤓": "nerd_face",
    "👻": "ghost",
    "👀": "eyes",
    "🎃": "jack_o_lantern",
    "🙈": "see_no_evil",
    "😇": "innocent",
    "😨": "fearful",
    "🤝": "handshake",
    "✍": "writing_hand",
    "🤗": "hugging_face",
    "🫡": "saluting_face",
    "🎅": "santa",
    "🎄": "christmas_tree",
    "☃": "snowman",
    "🗿": "moyai",
    "🆒": "cool",
    "🦄": "unicorn_face",
    "😎": "sunglasses",
    "👾": "space_invader",
    "🤷": "shrug",
}
_EMOJI = {name: emoji for emoji, name in NAMES.items()}
_EMOJI["+1"], _EMOJI["-1"] = "👍", "👎"


def read_name(text: str) -> str | None:
    """Return the short name that a text is, without its colons, or None."""
    found = _NAME.fullmatch(text.strip().lower())
    return found[1] if found else None


def emoji_named(text: str) -> str | None:
    """Return the emoji of a short name that we know, or None."""
    name = read_name(text)
    return _EMOJI.get(name) if name else None


def any_emoji(text: str) -> str | None:
    """Return the emoji that a text is or names, for platforms that take each."""
    return emoji_named(text) or (bare(text) if is_emoji(bare(text)) else None)
