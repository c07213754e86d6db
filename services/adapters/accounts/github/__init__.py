"""GitHub, through a GitHub App: tokens of an hour, each for one repository and what a call needs."""
