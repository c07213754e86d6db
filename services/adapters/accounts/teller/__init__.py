"""Bank accounts through Teller, read only."""
