"""The tokens that open the server, and whose they are."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator

#: A comment in a list of tokens: a `#` at the start of a line or after a space.
_COMMENT = re.compile(r"(?:^|\s)#.*")
#: What can name a client in a log line.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
#: What no header can carry, and so no token can have.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

#: A token of random letters is beyond guessing from 16 of them on, unless they are of very few kinds.
STRONG_LENGTH = 16
STRONG_KINDS = 8


class Tokens:
    """Tokens by the names of their owners; kept as digests, so that nothing here can show one."""

    def __init__(self, named: Iterable[tuple[str, str]] = ()) -> None:
        pairs = list(named)
        self._digests = tuple((name, _digest(token)) for name, token in pairs)
        #: The names of those that are easily guessed.
        self.weak = tuple(name for name, token in pairs if _is_weak(token))

    def __len__(self) -> int:
        return len(self._digests)

    def owner(self, presented: str) -> str | None:
        """Return the name of the token that ``presented`` is, or None.

        Every digest is compared, the matching one no differently: neither the time nor the length tells
        anything about the tokens, or about how many come before.
        """
        digest = _digest(presented)
        owner = None
        for name, known in self._digests:
            if hmac.compare_digest(digest, known):
                owner = name
        return owner


def read_tokens(single: str, several: str) -> Tokens:
    """Return the tokens that the settings give: ``single``, and a list of `token` or `name=token`.

    Commas and line breaks divide the list, `#` begins a comment. A token without a name is `token-1` and
    so on. Raises ValueError with every mistake; entries are told by their number, because a part of one
    may be a part of a secret.
    """
    mistakes: list[str] = []
    if _CONTROL.search(single):
        mistakes.append("The single token has a line break or another character that no header can carry.")
    entries = list(_entries(several))
    if several and not entries:
        mistakes.append("The list has no token.")
    pairs = [_pair(f"Entry {number}", entry, mistakes) for number, entry in enumerate(entries, 1)]
    if single:
        pairs.insert(0, ("", single))
    labels = [*(["The single token"] if single else []), *(f"Entry {n}" for n in range(1, len(entries) + 1))]
    named = list(_with_names(pairs))
    _tell_repeated("token", labels, [token for _, token in named], mistakes)
    _tell_repeated("name", labels, [name for name, _ in named], mistakes)
    if mistakes:
        raise ValueError(" ".join(mistakes))
    return Tokens(named)


def _entries(text: str) -> Iterator[str]:
    for line in text.splitlines():
        kept = _COMMENT.sub("", line).strip()
        if kept:
            # An empty entry between commas is kept: it is a variable that was not there when the list was
            # put together, and dropping it could leave the server open.
            yield from (entry.strip() for entry in kept.split(","))


def _pair(label: str, entry: str, mistakes: list[str]) -> tuple[str, str]:
    """Return an entry's name, empty if it has none, and its token."""
    name, separator, token = (part.strip() for part in entry.partition("="))
    if not separator:
        name, token = "", entry
    elif not _NAME.fullmatch(name):
        mistakes.append(f"{label} has a name that is not letters, digits and `_.@-`, at most 64.")
    if not token.strip("="):
        # A bare token in base64 may end so: it is not to be taken for a name, which is logged.
        after = " after its `=`; one that ends in `=` itself needs a name before it" if separator else ""
        mistakes.append(f"{label} has no token{after}.")
    elif re.search(r"\s", token) or _CONTROL.search(token):
        mistakes.append(f"{label} has a token with a space in it.")
    return name, token


def _with_names(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    unnamed = 0
    for name, token in pairs:
        unnamed += not name
        yield name or f"token-{unnamed}", token


def _tell_repeated(what: str, labels: list[str], values: list[str], mistakes: list[str]) -> None:
    first: dict[str, str] = {}
    for label, value in zip(labels, values, strict=True):
        if value and first.setdefault(value, label) != label:
            mistakes.append(f"{label} has the same {what} as {first[value][0].lower()}{first[value][1:]}.")


def _is_weak(token: str) -> bool:
    return len(token) < STRONG_LENGTH or len(set(token)) < STRONG_KINDS


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
