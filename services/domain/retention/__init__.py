"""How long what was said in chats is kept."""
