"""Streamable HTTP to an MCP server: each request is a POST, what the server says unasked comes by a GET."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from cursorpipe_core.demo_agent.output import encode_json, encode_line

Json = dict[str, Any]

#: Seconds for what is answered at once: a connection, a notification, a farewell.
_PATIENCE_S = 5.0

_EVENTS = "text/event-stream"


class HttpTransport:
    """Sends messages, each by a connection of its own, and hands on what comes back.

    ``take`` gets every message of the server, ``lose`` the id of a request that will have no reply, both
    in a thread of ours. ``version`` is the header that tells which protocol was agreed on.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        take: Callable[[Json], None],
        lose: Callable[[Any, str], None],
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise OSError(f"not a URL of HTTP: {url}")
        self._host, self._port = parts.hostname, parts.port or 80
        self._path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        self._headers = dict(headers)
        self._take = take
        self._lose = lose
        self._session = ""
        self._open: dict[Any, socket.socket] = {}
        self.version = ""

    def send(self, message: Json) -> None:
        """Send a message; returns when it is on its way, raises OSError if it cannot be."""
        body = encode_line(encode_json(message))
        connection = self._request("POST", f"application/json, {_EVENTS}", body)
        if "method" not in message or "id" not in message:
            with contextlib.closing(connection), contextlib.suppress(http.client.HTTPException):
                connection.getresponse().read()
            return
        self._follow(connection, message["id"])

    def listen(self) -> None:
        """Open the stream for what the server says unasked; a server may have none."""
        self._follow(self._request("GET", _EVENTS), None)

    def drop(self, request_id: Any) -> None:
        """Break the connection of a request."""
        if (connection := self._open.get(request_id)) is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self, *, delete: bool) -> None:
        """Break all connections; ``delete``: take leave of the server first."""
        if delete and self._session:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._request("DELETE", "*/*").getresponse().read()
        for request_id in list(self._open):
            self.drop(request_id)

    def _request(self, method: str, accept: str, body: bytes | None = None) -> http.client.HTTPConnection:
        headers = {**self._headers, "accept": accept}
        if body is not None:
            headers["content-type"] = "application/json"
        if self._session:
            headers["mcp-session-id"] = self._session
        if self.version:
            headers["mcp-protocol-version"] = self.version
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_PATIENCE_S)
        try:
            connection.request(method, self._path, body, headers)
        except http.client.HTTPException as error:
            connection.close()
            raise OSError(repr(error)) from None
        except OSError:
            connection.close()
            raise
        return connection

    def _follow(self, connection: http.client.HTTPConnection, request_id: Any) -> None:
        """Read the response in a thread; the one to the GET goes by the id None."""
        # The connection forgets its socket when the response is to be its last.
        connection.sock.settimeout(None)
        self._open[request_id] = connection.sock
        threading.Thread(target=self._receive, args=(connection, request_id), daemon=True).start()

    def _receive(self, connection: http.client.HTTPConnection, request_id: Any) -> None:
        reason = "the connection was closed"
        try:
            with contextlib.closing(connection), connection.getresponse() as response:
                self._session = response.getheader("mcp-session-id") or self._session
                if response.status != http.client.OK:
                    reason = f"HTTP {response.status}"
                elif (response.getheader("content-type") or "").startswith(_EVENTS):
                    for message in _events(response):
                        self._take(message)
                else:
                    self._take(json.loads(response.read()))
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = repr(error)
        self._open.pop(request_id, None)
        self._lose(request_id, reason)


def _events(response: http.client.HTTPResponse) -> Iterator[Json]:
    data: list[bytes] = []
    for line in response:
        field, _, value = line.rstrip(b"\r\n").partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif not field and not value and data:
            message = json.loads(b"\n".join(data))
            data.clear()
            if isinstance(message, dict):
                yield message
