"""The authorization server: how people's own programs get tokens for the gateway. The consent is a dashboard page."""
