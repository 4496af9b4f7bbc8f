"""The steps of the matrix for the Python drivers (1.x and 2.x).

Each driver hands in one client behind a small interface: `list_tools()`, `call_tool(name, args, on_progress)`,
and an `Inbox` that the client's callbacks fill. Every step prints one JSON line: {step, ok, note}.

With MODE=sessions there are no steps but SESSIONS sessions, AT_ONCE of them at the same time, and one line in the
end: {sessions, calls, failures, first}.
"""

import asyncio
import json
import os
from pathlib import Path
from dataclasses import dataclass, field
from typing import Any, Awaitable, Callable, Protocol

STEP_TIMEOUT_S = 30
# server-everything's simulated log comes every five seconds; the first of them is sent during the call that
# switches it on, so only what comes later than this after the call's answer counts as unrelated.
OUTSIDE_A_CALL_S = 1
CALLS_PER_SESSION = 3

# What the server under test calls its tools: MATRIX_SERVER names an entry of servers.json.
SERVERS = json.loads(Path(__file__).with_name("servers.json").read_text())
SERVER = SERVERS[os.environ.get("MATRIX_SERVER", "everything")]

ELICITED = {"name": "Nora Matrix", "check": True, "answer": "Nora Matrix"}
SAMPLED = "sampled by the matrix"

OnProgress = Callable[[float, float | None, str | None], Awaitable[None]]


class Client(Protocol):
    async def list_tools(self) -> list[str]: ...

    async def call_tool(self, name: str, args: dict[str, Any], on_progress: OnProgress | None = None) -> str: ...


@dataclass
class Inbox:
    """What the server has asked and told the client so far."""

    elicitations: int = 0
    samplings: int = 0
    log: asyncio.Event = field(default_factory=asyncio.Event)


def report(**line: Any) -> None:
    print(json.dumps(line, ensure_ascii=False), flush=True)


def describe(error: BaseException) -> str:
    """The innermost message: anyio wraps what happened in groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def text_of(result: Any) -> str:
    return "\n".join(getattr(item, "text", "") for item in result.content)


async def step(name: str, run: Callable[[], Awaitable[str | None]]) -> None:
    """Runs one step and says how it went; a failed step does not stop the later ones."""
    try:
        note = await asyncio.wait_for(run(), STEP_TIMEOUT_S)
        report(step=name, ok=True, note=note or "")
    except TimeoutError:
        report(step=name, ok=False, note=f"no result after {STEP_TIMEOUT_S} s")
    except Exception as error:
        report(step=name, ok=False, note=describe(error))


async def listing(client: Client) -> str:
    names = await client.list_tools()
    assert "echo" in names, f"no echo among {names}"
    return f"{len(names)} tools"


async def call(client: Client) -> None:
    text = await client.call_tool("echo", {SERVER["echo"]["argument"]: "grüße ✓"})
    assert text == SERVER["echo"]["prefix"] + "grüße ✓", f"got {text}"


async def progress(client: Client) -> str:
    seen: list[float] = []

    async def on_progress(value: float, _total: float | None, _message: str | None) -> None:
        seen.append(value)

    text = await client.call_tool(SERVER["long"]["tool"], SERVER["long"]["quick"], on_progress)
    assert SERVER["long"]["says"] in text, f"got {text}"
    assert seen == [1, 2, 3, 4], f"progress seen: {seen}"
    return "4 of 4 in order"


async def notification(client: Client, inbox: Inbox) -> None:
    tool, toggles = SERVER["notification"]["tool"], SERVER["notification"]["toggles"]
    inbox.log.clear()
    await client.call_tool(tool, {})
    if toggles:
        await asyncio.sleep(OUTSIDE_A_CALL_S)
        inbox.log.clear()
    await inbox.log.wait()
    if toggles:
        await client.call_tool(tool, {})


async def elicitation(client: Client, inbox: Inbox) -> None:
    text = await client.call_tool(SERVER["elicitation"], {})
    assert inbox.elicitations == 1, f"asked {inbox.elicitations} times"
    assert ELICITED["name"] in text, f"the answer is not in {text}"


async def sampling(client: Client, inbox: Inbox) -> None:
    text = await client.call_tool(SERVER["sampling"], {"prompt": "hello", "maxTokens": 20})
    assert inbox.samplings == 1, f"asked {inbox.samplings} times"
    assert SAMPLED in text, f"the answer is not in {text}"


async def cut(client: Client, how: str) -> str:
    """Asks the harness to cut every connection after the first progress of a long call, and waits for the call."""
    seen = 0

    async def on_progress(_value: float, _total: float | None, _message: str | None) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            report(step="cut-now", how=how)

    text = await client.call_tool(SERVER["long"]["tool"], SERVER["long"]["slow"], on_progress)
    assert SERVER["long"]["says"] in text, f"got {text}"
    await call(client)
    return f"result arrived, {seen} of 4 progress"


async def run_all(client: Client, inbox: Inbox) -> None:
    """All steps but connect and close, which are the driver's own."""
    await step("list", lambda: listing(client))
    await step("call", lambda: call(client))
    await step("progress", lambda: progress(client))
    await step("notification", lambda: notification(client, inbox))
    await step("elicitation", lambda: elicitation(client, inbox))
    if SERVER["sampling"]:
        await step("sampling", lambda: sampling(client, inbox))
    else:
        report(step="sampling", cannot="the server asks for none")
    await step("dropped", lambda: cut(client, "fin"))
    await step("reset", lambda: cut(client, "rst"))


@dataclass
class Tally:
    """Counts how sessions go; the first call that fails is a session's last."""

    sessions: int = 0
    calls: int = 0
    failures: int = 0
    first: str | None = None

    async def session(self, connected: Callable[[Inbox], Any]) -> None:
        self.sessions += 1
        number = self.sessions
        try:
            await asyncio.wait_for(self.steps(connected), STEP_TIMEOUT_S)
        except Exception as error:
            self.failures += 1
            self.first = self.first or f"session {number}: {describe(error)}"

    async def steps(self, connected: Callable[[Inbox], Any]) -> None:
        self.calls += 1
        async with connected(Inbox()) as (client, _note):
            for step in [listing] + [call] * CALLS_PER_SESSION:
                self.calls += 1
                await step(client)


async def run_sessions(connected: Callable[[Inbox], Any]) -> None:
    tally, left = Tally(), iter(range(int(os.environ["SESSIONS"])))

    async def some() -> None:
        for _ in left:
            await tally.session(connected)

    await asyncio.gather(*(some() for _ in range(int(os.environ["AT_ONCE"]))))
    report(**vars(tally))


async def run(connected: Callable[[Inbox], Any]) -> None:
    """`connected(inbox)` is an async context manager that yields (client, note)."""
    if os.environ.get("MODE") == "sessions":
        await run_sessions(connected)
    else:
        await run_steps(connected)


async def run_steps(connected: Callable[[Inbox], Any]) -> None:
    inbox = Inbox()
    doing = "connect"
    try:
        async with connected(inbox) as (client, note):
            report(step="connect", ok=True, note=note)
            await run_all(client, inbox)
            doing = "close"
        report(step="close", ok=True, note="left the context manager")
    except Exception as error:
        report(step=doing, ok=False, note=describe(error))
