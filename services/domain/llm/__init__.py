"""Models: which an organisation may use, whose key pays, what they cost, and how much may be spent."""
