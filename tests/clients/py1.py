"""Python SDK 1.x: python py1.py URL"""

import asyncio
import sys
from contextlib import asynccontextmanager

from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client

from steps import ELICITED, SAMPLED, Inbox, run, text_of


class Client:
    def __init__(self, session: ClientSession) -> None:
        self.session = session

    async def list_tools(self):
        return [tool.name for tool in (await self.session.list_tools()).tools]

    async def call_tool(self, name, args, on_progress=None):
        result = await self.session.call_tool(name, args, progress_callback=on_progress)
        assert not result.isError, f"tool error: {text_of(result)}"
        return text_of(result)


def callbacks(inbox: Inbox) -> dict:
    async def elicit(_context, _params):
        inbox.elicitations += 1
        return types.ElicitResult(action="accept", content=ELICITED)

    async def sample(_context, _params):
        inbox.samplings += 1
        content = types.TextContent(type="text", text=SAMPLED)
        return types.CreateMessageResult(role="assistant", model="matrix-model", stopReason="endTurn", content=content)

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
    async with streamable_http_client(sys.argv[1]) as (read, write, _session_id):
        async with ClientSession(read, write, **callbacks(inbox)) as session:
            opened = await session.initialize()
            yield Client(session), opened.protocolVersion


asyncio.run(run(connected))
