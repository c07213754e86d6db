"""Issues at Linear, and the sessions of its agents, by webhook and GraphQL."""
