"""Files that people send with their messages: asked for, fetched, read, and put where an agent finds them."""
