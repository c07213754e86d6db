"""The `chat` server: what an agent says in chats while it works, and what it asks there."""

from __future__ import annotations

from services.mcp_gateway.mcp_servers.chat.cards import CARD_TOOLS
from services.mcp_gateway.mcp_servers.chat.files import FILE_TOOLS
from services.mcp_gateway.mcp_servers.chat.messages import MESSAGE_TOOLS
from services.mcp_gateway.mcp_servers.chat.questions import QUESTION_TOOLS
from services.mcp_gateway.mcp_servers.tools import ToolServer

SERVER = ToolServer(
    name="chat",
    title="Chat",
    instructions="Write to people in their chats, and ask them. You may send to the chat that asked you (`here`) and "
    "to your destinations (list_destinations), nowhere else. Your final answer reaches the chat that asked you "
    "by itself: do not send it with these tools.",
    tools=(*MESSAGE_TOOLS, *CARD_TOOLS, *FILE_TOOLS, *QUESTION_TOOLS),
)
