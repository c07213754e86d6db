"""Local servers that speak the protocols of parties outside."""
