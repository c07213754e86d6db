"""MCP servers of others, reached through the gateway: their credentials stay here, their tools are reviewed."""
