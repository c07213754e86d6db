"""Composio: a catalogue of tools for accounts that a person connected there."""
