"""Microsoft Teams bots, by the Bot Framework's connector."""
