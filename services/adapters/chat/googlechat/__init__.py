"""Google Chat apps, by HTTP endpoint and the Chat API."""
