"""Discord bots, by the gateway, interactions and the REST API."""
