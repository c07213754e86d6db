"""Slack apps, by the Events API and the Web API."""
