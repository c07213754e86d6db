"""The Composio tools: finding a tool of the catalogue, and running it in a connected account."""

from __future__ import annotations

from services.mcp_gateway.accounts import open_account
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.composio.models import (
    ConnectionOutput,
    ConnectionsInput,
    ConnectionsOutput,
    ExecutedOutput,
    ExecuteInput,
    FoundTool,
    FoundTools,
    GetInput,
    SearchInput,
    ToolkitOutput,
    ToolkitsInput,
    ToolkitsOutput,
    ToolSchema,
    as_json,
)
from services.mcp_gateway.mcp_servers.tools import Tool

KIND = "composio"


async def _list_connections(caller: Caller, given: ConnectionsInput) -> ConnectionsOutput:
    async with open_account(caller, KIND, given.account) as account:
        found = await account.client.connections()
    return ConnectionsOutput(connections=[ConnectionOutput.of(each) for each in found])


async def _list_toolkits(caller: Caller, given: ToolkitsInput) -> ToolkitsOutput:
    async with open_account(caller, KIND, given.account) as account:
        found = await account.client.toolkits(given.search, given.limit)
    return ToolkitsOutput(toolkits=[ToolkitOutput.of(each) for each in found])


async def _search_tools(caller: Caller, given: SearchInput) -> FoundTools:
    async with open_account(caller, KIND, given.account) as account:
        found = await account.client.search(given.query, given.toolkit, given.limit)
    return FoundTools(tools=[FoundTool.of(each) for each in found])


async def _get_tool(caller: Caller, given: GetInput) -> ToolSchema:
    async with open_account(caller, KIND, given.account) as account:
        tool = await account.client.tool(given.slug)
    return ToolSchema(
        slug=tool.slug,
        name=tool.name,
        toolkit=tool.toolkit,
        description=tool.description,
        input_schema_json=as_json(tool.input_schema)[0],
    )


async def _execute_tool(caller: Caller, given: ExecuteInput) -> ExecutedOutput:
    async with open_account(caller, KIND, given.account) as account:
        done = await account.client.execute(given.slug, given.arguments, given.connection_id)
    result, is_cut = as_json(done.content)
    return ExecutedOutput(
        successful=done.is_successful,
        result_json=result,
        is_cut=is_cut,
        error=done.error,
        log_id=done.log_id,
    )


TOOLS = (
    Tool(
        "composio_list_connections",
        "List the accounts that the person has connected at Composio, with the toolkit of each.",
        ConnectionsInput,
        ConnectionsOutput,
        _list_connections,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "composio_list_toolkits",
        "List toolkits of the catalogue, that is applications, for which there are tools.",
        ToolkitsInput,
        ToolkitsOutput,
        _list_toolkits,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "composio_search_tools",
        "Find tools by what they should do. Read the schema of one with `composio_get_tool` before you run it.",
        SearchInput,
        FoundTools,
        _search_tools,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "composio_get_tool",
        "Get one tool's description and the schema of its arguments.",
        GetInput,
        ToolSchema,
        _get_tool,
        reads_only=True,
        open_world=True,
    ),
    Tool(
        "composio_execute_tool",
        "Run a tool in the person's connected account. It acts there at once, and many tools send or change things: "
        "run only what the person you work for wants done. Ids of connections come from `composio_list_connections`.",
        ExecuteInput,
        ExecutedOutput,
        _execute_tool,
        destroys=True,
        default_hold=True,
        open_world=True,
    ),
)
