"""The MCP servers that work with a brokered account: an agent lists them, and a person connects the account."""

from __future__ import annotations

ACCOUNT_SERVERS: tuple[str, ...] = ("gmail", "github", "mail", "teller", "composio", "calendar")
"""Each is a kind of account, a folder in `services/adapters/accounts` and one in the gateway's `mcp_servers`."""
