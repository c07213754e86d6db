"""The tools, resources and prompts that the protocol's conformance suite asks a server for, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import mcp_types as types
from mcp.server import Server, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

Context = ServerRequestContext[Any]
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
ADDRESS = {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}
DIALECT_TOOL = types.Tool(
    name="json_schema_2020_12_tool",
    description="A tool whose input is described with the words of JSON Schema 2020-12.",
    input_schema={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": ADDRESS},
        "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
        "additionalProperties": False,
    },
)
PERSON = {
    "type": "object",
    "properties": {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    },
    "required": ["username", "email"],
}
DEFAULTS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}
_OPTIONS = ["option1", "option2", "option3"]
_TITLED = [{"const": f"value{n}", "title": f"Option {n}"} for n in (1, 2, 3)]
ENUMS = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": _OPTIONS},
        "titledSingle": {"type": "string", "oneOf": _TITLED},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _OPTIONS}},
        "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
    },
}


def _png() -> str:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")).decode()


def _wav() -> str:
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36, b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8, b"data", 0
    )
    return base64.b64encode(header).decode()


PNG, WAV = _png(), _wav()


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


def _image() -> types.ImageContent:
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


def _embedded(uri: str, mime_type: str, text: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(
        type="resource", resource=types.TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    )


def _result(*content: types.ContentBlock, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=list(content), is_error=is_error)


async def _log(context: Context, arguments: dict[str, Any]) -> types.CallToolResult:
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        params = types.LoggingMessageNotificationParams(level="info", data=words)
        await context.session.send_notification(
            types.LoggingMessageNotification(params=params), related_request_id=context.request_id
        )
        await asyncio.sleep(0.05)
    return _result(_text("Logged three times."))


async def _progress(context: Context, arguments: dict[str, Any]) -> types.CallToolResult:
    for done in (0, 50, 100):
        await context.session.report_progress(done, 100)
        await asyncio.sleep(0.05)
    return _result(_text("Done, in three steps."))


async def _sample(context: Context, arguments: dict[str, Any]) -> types.CallToolResult:
    message = types.SamplingMessage(role="user", content=_text(arguments["prompt"]))
    params = types.CreateMessageRequestParams(messages=[message], max_tokens=100)
    answer = await context.session.send_request(
        types.CreateMessageRequest(params=params),
        types.CreateMessageResult,
        metadata=ServerMessageMetadata(related_request_id=context.request_id),
    )
    said = answer.content.text if isinstance(answer.content, types.TextContent) else ""
    return _result(_text(f"LLM response: {said}"))


async def _break_off(context: Context, arguments: dict[str, Any]) -> types.CallToolResult:
    if context.close_sse_stream is not None:
        await context.close_sse_stream()
    await asyncio.sleep(0.1)
    return _result(_text("Answered after the stream was closed."))


def _ask(
    schema: dict[str, Any], words: str
) -> Callable[[Context, dict[str, Any]], Awaitable[types.CallToolResult]]:
    async def ask(context: Context, arguments: dict[str, Any]) -> types.CallToolResult:
        message = arguments.get("message", "Please fill this in.")
        answer = await context.session.elicit_form(message, schema, related_request_id=context.request_id)
        return _result(_text(f"{words}: action={answer.action}, content={json.dumps(answer.content)}"))

    return ask


def _give(*content: types.ContentBlock, is_error: bool = False) -> Any:
    async def give(context: Context, arguments: dict[str, Any]) -> types.CallToolResult:
        return _result(*content, is_error=is_error)

    return give


_MIXED = _embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
TOOLS: dict[str, Any] = {
    "test_simple_text": _give(_text("This is a simple text response for testing.")),
    "test_image_content": _give(_image()),
    "test_audio_content": _give(types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")),
    "test_embedded_resource": _give(
        _embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ),
    "test_multiple_content_types": _give(_text("Multiple content types test:"), _image(), _MIXED),
    "test_error_handling": _give(
        _text("This tool intentionally returns an error for testing"), is_error=True
    ),
    "test_tool_with_logging": _log,
    "test_tool_with_progress": _progress,
    "test_sampling": _sample,
    "test_elicitation": _ask(PERSON, "User response"),
    "test_elicitation_sep1034_defaults": _ask(DEFAULTS, "Elicitation completed"),
    "test_elicitation_sep1330_enums": _ask(ENUMS, "Elicitation completed"),
    "test_reconnection": _break_off,
    DIALECT_TOOL.name: _give(_text("Understood.")),
}
_INPUTS = {
    "test_sampling": {"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]},
    "test_elicitation": {
        "type": "object",
        "properties": {"message": {"type": "string"}},
        "required": ["message"],
    },
}
_SUBJECT = "of the conformance suite's fixtures."


async def _list_tools(context: Context, params: Any) -> types.ListToolsResult:
    plain = [
        types.Tool(name=name, description=f"One {_SUBJECT}", input_schema=_INPUTS.get(name, NOTHING))
        for name in TOOLS
        if name != DIALECT_TOOL.name
    ]
    return types.ListToolsResult(tools=[*plain, DIALECT_TOOL])


async def _call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    if params.name not in TOOLS:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    result: types.CallToolResult = await TOOLS[params.name](context, params.arguments or {})
    return result


RESOURCES = {
    "test://static-text": ("text/plain", "This is the content of the static text resource."),
    "test://static-binary": ("image/png", PNG),
    "test://watched-resource": ("text/plain", "Watched."),
}


async def _list_resources(context: Context, params: Any) -> types.ListResourcesResult:
    return types.ListResourcesResult(
        resources=[
            types.Resource(uri=uri, name=uri[7:], description=f"One {_SUBJECT}", mime_type=mime_type)
            for uri, (mime_type, _) in RESOURCES.items()
        ]
    )


async def _list_templates(context: Context, params: Any) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        uri_template="test://template/{id}/data", name="template", description=f"One {_SUBJECT}"
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def _read(context: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    if uri == "test://static-binary":
        return types.ReadResourceResult(
            contents=[types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)]
        )
    if uri.startswith("test://template/"):
        found = uri.split("/")[3]
        text = json.dumps({"id": found, "templateTest": True, "data": f"Data for ID: {found}"})
        mime_type = "application/json"
    elif uri in RESOURCES:
        mime_type, text = RESOURCES[uri]
    else:
        raise MCPError(types.INVALID_PARAMS, "There is no such resource.")
    return types.ReadResourceResult(
        contents=[types.TextResourceContents(uri=uri, mime_type=mime_type, text=text)]
    )


async def _nothing(context: Context, params: Any) -> types.EmptyResult:
    return types.EmptyResult()


def _argument(name: str) -> types.PromptArgument:
    return types.PromptArgument(name=name, description=f"One {_SUBJECT}", required=True)


PROMPTS = {
    "test_simple_prompt": [],
    "test_prompt_with_arguments": [_argument("arg1"), _argument("arg2")],
    "test_prompt_with_embedded_resource": [_argument("resourceUri")],
    "test_prompt_with_image": [],
}


async def _list_prompts(context: Context, params: Any) -> types.ListPromptsResult:
    return types.ListPromptsResult(
        prompts=[
            types.Prompt(name=name, description=f"One {_SUBJECT}", arguments=arguments)
            for name, arguments in PROMPTS.items()
        ]
    )


async def _get_prompt(context: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    given = params.arguments or {}
    content: list[Any]
    match params.name:
        case "test_simple_prompt":
            content = [_text("This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            content = [_text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")]
        case "test_prompt_with_embedded_resource":
            embedded = _embedded(given["resourceUri"], "text/plain", "Embedded resource content for testing.")
            content = [embedded, _text("Please process the embedded resource above.")]
        case "test_prompt_with_image":
            content = [_image(), _text("Please analyze the image above.")]
        case _:
            raise MCPError(types.INVALID_PARAMS, "There is no such prompt.")
    return types.GetPromptResult(
        messages=[types.PromptMessage(role="user", content=part) for part in content]
    )


async def _complete(context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    values = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


def build_fixture() -> Server[Any]:
    """Return the server."""
    server: Server[Any] = Server(
        "conformance",
        version="1",
        on_list_tools=_list_tools,
        on_call_tool=_call_tool,
        on_list_resources=_list_resources,
        on_list_resource_templates=_list_templates,
        on_read_resource=_read,
        on_subscribe_resource=_nothing,
        on_unsubscribe_resource=_nothing,
        on_list_prompts=_list_prompts,
        on_get_prompt=_get_prompt,
        on_completion=_complete,
    )
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, _nothing)
    return server
