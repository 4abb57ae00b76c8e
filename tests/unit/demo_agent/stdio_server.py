"""An MCP server over standard input and output: it answers each call with what it knows of itself."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def reply(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    if method == "initialize":
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}}
    if method == "tools/list":
        page = params.get("cursor", "0")
        tool = {"name": f"tool_{page}", "inputSchema": {"type": "object"}}
        return {"tools": [tool], **({"nextCursor": "1"} if page == "0" else {})}
    if method == "tools/call" and params["arguments"].get("how") == "die":
        os._exit(1)
    if method == "tools/call":
        known = {"env": sorted(os.environ), "args": sys.argv[1:], "cwd": str(os.getcwd())}  # noqa: PTH109
        said = json.dumps(known[params["arguments"]["what"]])
        return {"content": [{"type": "text", "text": said}]}
    return None


def main() -> None:
    sys.stdout.write("this is not JSON\n")
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        result = reply(message["method"], message.get("params", {}))
        answer = (
            {"error": {"code": -32601, "message": "Method not found"}}
            if result is None
            else {"result": result}
        )
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
