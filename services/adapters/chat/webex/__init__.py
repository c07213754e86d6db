"""Webex bots, by webhooks that name what happened and the REST API that says what it was."""
