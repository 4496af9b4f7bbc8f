"""Python SDK 2.x in its default mode (asks server/discover first): python py2.py URL"""

import asyncio
import sys
from contextlib import asynccontextmanager

import mcp
from mcp import types

from steps import ELICITED, SAMPLED, Inbox, run, text_of


class Client:
    def __init__(self, client: mcp.Client) -> None:
        self.client = client

    async def list_tools(self):
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def call_tool(self, name, args, on_progress=None):
        result = await self.client.call_tool(name, args, progress_callback=on_progress)
        assert not result.is_error, f"tool error: {text_of(result)}"
        return text_of(result)


def callbacks(inbox: Inbox) -> dict:
    async def elicit(_context, _params):
        inbox.elicitations += 1
        return types.ElicitResult(action="accept", content=ELICITED)

    async def sample(_context, _params):
        inbox.samplings += 1
        content = types.TextContent(type="text", text=SAMPLED)
        return types.CreateMessageResult(role="assistant", model="matrix-model", stop_reason="endTurn", content=content)

    async def log(_params):
        inbox.log.set()

    async def message(told):
        if getattr(getattr(told, "root", told), "method", None) == "notifications/tools/list_changed":
            inbox.log.set()

    return {
        "elicitation_callback": elicit,
        "sampling_callback": sample,
        "logging_callback": log,
        "message_handler": message,
    }


@asynccontextmanager
async def connected(inbox: Inbox):
    async with mcp.Client(sys.argv[1], **callbacks(inbox)) as client:
        yield Client(client), client.protocol_version


asyncio.run(run(connected))
