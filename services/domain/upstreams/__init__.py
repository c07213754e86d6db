"""MCP servers of others that an organisation or a person registered, and what was reviewed of them."""
