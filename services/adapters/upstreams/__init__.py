"""Speaking to MCP servers of others and to their authorization servers, over a network that is not trusted."""
