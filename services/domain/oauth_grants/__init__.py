"""OAuth grants: begun by a person, kept sealed with a row, refreshed by one process at a time.

Accounts elsewhere and MCP servers of others keep theirs this way.
"""
