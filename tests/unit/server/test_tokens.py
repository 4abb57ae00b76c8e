"""The tokens: how they are given, and that nothing tells them."""

from __future__ import annotations

import hmac
from typing import Any

import pytest

from cursorpipe_server.tokens import Tokens, read_tokens


@pytest.mark.parametrize(
    ("single", "several", "owners"),
    [
        ("one", "", {"one": "token-1"}),
        ("one, two = three", "", {"one, two = three": "token-1"}),
        ("", "one,two", {"one": "token-1", "two": "token-2"}),
        ("", "ann=one, bob = two", {"one": "ann", "two": "bob"}),
        ("one", "bob=two,three", {"one": "token-1", "two": "bob", "three": "token-2"}),
        ("", "ann=c2Vj==", {"c2Vj==": "ann"}),
        ("", "ann@host.example=a#b", {"a#b": "ann@host.example"}),
        (
            "",
            "# ours\nann=one  # the laptop\r\n\n  bob=two,three\n",
            {"one": "ann", "two": "bob", "three": "token-1"},
        ),
    ],
)
def test_tokens_are_read_with_the_names_of_their_owners(
    single: str, several: str, owners: dict[str, str]
) -> None:
    tokens = read_tokens(single, several)
    assert len(tokens) == len(owners)
    assert {token: tokens.owner(token) for token in owners} == owners
    assert tokens.owner("") is tokens.owner("ann") is tokens.owner("other") is None


def test_no_settings_are_no_tokens() -> None:
    assert not read_tokens("", "")


@pytest.mark.parametrize(
    ("single", "several", "told"),
    [
        ("", "s3cret,,other", "Entry 2 has no token."),
        ("", ",", "Entry 1 has no token. Entry 2 has no token."),
        ("", "# nothing but this", "The list has no token."),
        ("", "ann=", "Entry 1 has no token after its `=`"),
        ("", "s3cret==", "one that ends in `=` itself needs a name"),
        ("", "two words=s3cret", "Entry 1 has a name that is not"),
        ("", "=s3cret", "Entry 1 has a name that is not"),
        ("", "ann=s3cret other", "Entry 1 has a token with a space in it."),
        ("", "ann=s3cret,bob=s3cret", "Entry 2 has the same token as entry 1."),
        ("s3cret", "ann=s3cret", "Entry 1 has the same token as the single token."),
        ("", "ann=s3cret,ann=other", "Entry 2 has the same name as entry 1."),
        ("s3cret", "token-1=other", "Entry 1 has the same name as the single token."),
        ("s3cret\nother", "", "The single token has a line break"),
    ],
)
def test_a_list_that_is_wrong_is_told_without_a_secret(single: str, several: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"(Entry|list|single)") as caught:
        read_tokens(single, several)
    assert told in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_every_digest_is_compared_whichever_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    really = hmac.compare_digest

    def compare(given: bytes, known: bytes) -> bool:
        compared.append((given, known))
        return really(given, known)

    monkeypatch.setattr("cursorpipe_server.tokens.hmac.compare_digest", compare)
    tokens = read_tokens("", "ann=one,bob=two,cem=three")
    for presented in ("one", "two", "three", "none of them"):
        compared.clear()
        tokens.owner(presented)
        assert len({known for _, known in compared}) == len(compared) == 3
        assert {len(digest) for pair in compared for digest in pair} == {32}


def test_what_keeps_the_tokens_cannot_show_them() -> None:
    def everything_in(value: Any) -> str:
        return repr(value) + repr(getattr(value, "__dict__", ""))

    assert "s3cret" not in everything_in(Tokens([("ann", "s3cret")]))
