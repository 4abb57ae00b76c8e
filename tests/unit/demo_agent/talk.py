"""A talk with the stand-in in one session with one MCP server, and the calls that most talks are about."""

from __future__ import annotations

from collections.abc import Callable

from tests.tool_scripts import call, final_answer, together, tools_directive
from tests.unit.demo_agent.driver import Client, Json, Turn
from tests.unit.demo_agent.mcp_server import McpServer

PARIS, ROME = call("get_weather", {"city": "Paris"}), call("get_weather", {"city": "Rome"})
TWO = tools_directive(together(PARIS, ROME))
BOTH = final_answer(("get_weather", "sunny"), ("get_weather", "rain"))

#: Two rounds of two parallel calls, with words around them, and what the model says in the end.
CONVERSATION = tools_directive(
    together(PARIS, ROME, say="Let me look. ", after="Now the time. "), together(call("get_time"), PARIS)
)
END = final_answer(
    ("get_weather", "sunny in Paris"),
    ("get_weather", "sunny in Rome"),
    ("get_time", "noon"),
    ("get_weather", "sunny in Paris"),
)


def know(name: str, arguments: Json) -> str:
    return f"sunny in {arguments['city']}" if name == "get_weather" else "noon"


class Talk:
    """One session with one server."""

    def __init__(self, client: Client, server: McpServer) -> None:
        client.initialize()
        self.client = client
        self.server = server
        self.session = client.new_session("/", server.definition())

    def begin(self, prompt: str) -> int:
        return self.client.prompt(self.session, prompt)

    def end(self, request: int) -> Turn:
        return self.client.end_of(request, self.session)

    def turn(self, prompt: str) -> Turn:
        return self.end(self.begin(prompt))

    def updates(self) -> list[Json]:
        """What came in of the session up to now."""
        return [update for owner, update in self.client.updates if owner == self.session]


#: Opens a talk under switches.
Open = Callable[[str], Talk]
