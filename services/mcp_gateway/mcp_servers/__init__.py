"""The MCP servers of the platform: a folder for each, found by name."""
