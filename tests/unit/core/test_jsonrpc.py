from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cursorpipe_core.errors import AgentCrashError, AgentTimeoutError
from cursorpipe_core.jsonrpc import Connection, LineSplitter, RpcError, decode


class Peer:
    """The other end of a connection: what was written, and a way to speak."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.heard: list[tuple[str, Any]] = []
        self.connection = Connection(
            lambda data: self.sent.append(orjson.loads(data)),
            on_request=lambda request_id, method, params: self.heard.append((method, (request_id, params))),
            on_notification=lambda method, params: self.heard.append((method, params)),
        )

    def says(self, *messages: Any) -> None:
        self.connection.feed(b"".join(orjson.dumps(message) + b"\n" for message in messages))


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.integers(1, 7))
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], step: int) -> None:
    data = b"".join(line + b"\n" for line in lines)
    splitter = LineSplitter()
    got = [line for at in range(0, len(data), step) for line in splitter.feed(data[at : at + step])]
    assert got == lines
    assert splitter.rest() == b""


def test_a_line_over_the_maximum_is_a_failure_and_one_below_is_not() -> None:
    splitter = LineSplitter(max_line_bytes=10)
    assert splitter.feed(b"123456789") == []
    assert splitter.feed(b"0\n") == [b"1234567890"]
    with pytest.raises(AgentCrashError):
        splitter.feed(b"12345678901")


def test_nothing_is_kept_of_a_line_over_the_maximum() -> None:
    splitter = LineSplitter(max_line_bytes=10)
    with pytest.raises(AgentCrashError):
        splitter.feed(b"12345678901")
    assert splitter.feed(b"x" * 100 + b"\nnext\n") == []
    assert splitter.rest() == b""


def test_half_a_surrogate_pair_is_taken_as_it_comes() -> None:
    assert decode(rb'{"text":"\ud83d"}') == {"text": "\ud83d"}


def test_bytes_that_are_not_utf8_do_not_lose_the_line() -> None:
    assert decode(b'{"text":"a\xff"}') == {"text": "a�"}


@pytest.mark.parametrize("line", [b"", b"   ", b"hello", b"{", b"[" * 5000])
def test_what_is_not_json_is_nothing(line: bytes) -> None:
    assert decode(line) is None


async def test_answers_find_their_requests_in_any_order() -> None:
    peer = Peer()
    answers: list[Any] = []
    first = peer.connection.send("a", {}, lambda result, error: answers.append((1, result, error)))
    second = peer.connection.send("b", {}, lambda result, error: answers.append((2, result, error)))
    peer.says({"id": second, "result": "two"}, {"id": first, "result": None})
    assert answers == [(2, "two", None), (1, None, None)]


async def test_messages_are_handled_in_the_order_of_their_lines() -> None:
    peer = Peer()
    request = peer.connection.send("prompt", {}, lambda *_: peer.heard.append(("answer", None)))
    peer.says(
        {"method": "update", "params": 1}, {"id": request, "result": {}}, {"method": "update", "params": 2}
    )
    assert peer.heard == [("update", 1), ("answer", None), ("update", 2)]


async def test_an_error_answer_raises_with_its_data() -> None:
    peer = Peer()
    caught: list[Any] = []
    request = peer.connection.send("a", {}, lambda _, error: caught.append(error))
    peer.says(
        {"id": request, "error": {"code": -32602, "message": "Invalid params", "data": {"message": "no"}}}
    )
    (error,) = caught
    assert isinstance(error, RpcError)
    assert (error.code, error.text()) == (-32602, "Invalid params: no")


async def test_the_peers_own_ids_are_not_confused_with_ours() -> None:
    peer = Peer()
    answers: list[Any] = []
    request = peer.connection.send("a", {}, lambda *answer: answers.append(answer))
    peer.says({"id": request, "method": "ask", "params": {}})
    assert not answers
    assert peer.heard == [("ask", (request, {}))]
    peer.connection.answer(request, {"x": 1})
    assert peer.sent[-1] == {"jsonrpc": "2.0", "id": request, "result": {"x": 1}}


async def test_lines_that_are_no_messages_are_skipped() -> None:
    peer = Peer()
    peer.connection.feed(
        b'\nnonsense\n[1]\n42\nnull\n{"id":null,"error":{}}\n{"id":77,"result":null}\n{"id":[1]}\n'
    )
    peer.says({"method": "after"})
    assert peer.heard == [("after", None)]


async def test_a_message_that_cannot_be_handled_is_the_end_of_the_peer() -> None:
    def fail(method: str, params: Any) -> None:
        raise TypeError("unhashable")

    connection = Connection(lambda _: None, on_request=lambda *_: None, on_notification=fail)
    with pytest.raises(AgentCrashError, match="shape"):
        connection.feed(b'{"method":"x"}\n')


async def test_an_error_with_half_a_surrogate_pair_can_still_be_told() -> None:
    assert RpcError(1, "a\ud83d", ["\ud83d"]).text().encode()


async def test_the_end_fails_open_requests_and_later_ones() -> None:
    peer = Peer()
    failures: list[Any] = []
    reason = AgentCrashError("gone")
    peer.connection.send("a", {}, lambda _, error: failures.append(error))
    peer.connection.close(reason)
    peer.connection.send("b", {}, lambda _, error: failures.append(error))
    assert failures == [reason, reason]
    with pytest.raises(AgentCrashError):
        await peer.connection.request("c", {}, phase="c", timeout_s=5)
    assert [message["method"] for message in peer.sent] == ["a"]


async def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    peer = Peer()
    with pytest.raises(AgentTimeoutError, match="something timed out"):
        await peer.connection.request("a", {}, phase="something", timeout_s=0.01)
    peer.says({"id": peer.sent[-1]["id"], "result": "late"})
