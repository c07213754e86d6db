"""iMessage, by a BlueBubbles server on somebody's Mac."""
