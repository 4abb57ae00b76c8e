"""Origins and hosts: what is one, and which are the same."""

from __future__ import annotations

import pytest

from cursorpipe_server.origins import Host, Origin, parse_host, parse_origin, read_hosts, read_origins


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("localhost", Host("localhost", None)),
        ("LocalHost.:8080", Host("localhost", 8080)),
        ("gpu_box:", Host("gpu_box", None)),
        ("xn--bcher-kva.example", Host("xn--bcher-kva.example", None)),
        ("127.0.0.1:80", Host("127.0.0.1", 80)),
        ("[::1]:8080", Host("::1", 8080)),
        ("[0:0:0:0:0:0:0:1]", Host("::1", None)),
        ("[2001:DB8::A]", Host("2001:db8::a", None)),
    ],
)
def test_a_host_is_known_however_it_is_written(text: str, host: Host) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ".",
            "..",
            "a..b",
            "localhost..",
            ":80",
            "a b",
            "a,b",
            "a/b",
            "user@a",
            "a:b",
            "a:65536",
            "a:-1",
        ),
        *(
            "::1",
            "[::1",
            "[]",
            "[localhost]",
            "[127.0.0.1]",
            "[::1]x",
            "[fe80::1%eth0]",
            "a\n",
            "b\xfccher",
            "a:٣",
        ),
        "a" * 64,
        "a." * 127 + "example",
    ],
)
def test_what_is_no_host_is_none(text: str) -> None:
    assert parse_host(text) is None


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://a", Origin("http", "a", 80)),
        ("HTTPS://A.Example.:443", Origin("https", "a.example", 443)),
        ("http://a:0", Origin("http", "a", 0)),
        ("http://[::1]:3000", Origin("http", "::1", 3000)),
        ("app://obsidian.md", Origin("app", "obsidian.md", None)),
    ],
)
def test_an_origin_is_a_scheme_a_host_and_a_port(text: str, origin: Origin) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    ["", "null", "*", "a", "a:80", "://a", "http://", "http:a", "http://a/", "http://u@a", "http://a b"],
)
def test_what_is_no_origin_is_none(text: str) -> None:
    assert parse_origin(text) is None


def test_only_the_listed_origins_are_allowed() -> None:
    origins = read_origins(["https://app.example", "http://localhost:3000"], protected=False)
    assert origins
    for text in ("https://app.example", "https://APP.example:443", "http://localhost:3000"):
        assert text in origins
    for text in (
        "http://app.example",
        "https://app.example.evil",
        "http://localhost",
        "null",
        "",
        "https://",
    ):
        assert text not in origins


def test_no_list_allows_nothing() -> None:
    origins = read_origins([], protected=True)
    assert not origins
    assert "null" not in origins
    assert "" not in origins


def test_a_star_allows_every_origin_but_what_is_none() -> None:
    origins = read_origins(["*"], protected=True)
    assert "https://anything.example" in origins
    assert "null" in origins
    assert "any thing" not in origins
    assert "" not in origins


@pytest.mark.parametrize(
    ("entries", "protected", "told"),
    [
        (["https://a/", "b"], True, ["'https://a/' is no origin", "'b' is no origin"]),
        (["null"], True, ["'null' is no origin"]),
        (["*"], False, ["without a token"]),
        (["*", "https://a"], True, ["stands alone"]),
    ],
)
def test_a_list_of_origins_that_is_wrong_is_told(
    entries: list[str], protected: bool, told: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"\.$") as caught:
        read_origins(entries, protected=protected)
    assert [part for part in told if part not in str(caught.value)] == []


def test_hosts_are_named_without_scheme_and_port() -> None:
    assert read_hosts(["GPU.example.", "box"]) == {"gpu.example", "box"}
    with pytest.raises(ValueError, match=r"'http://a' .* 'b:80' ") as caught:
        read_hosts(["http://a", "b:80", "fine"])
    assert "fine" not in str(caught.value)
