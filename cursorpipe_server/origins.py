"""Origins and hosts, as browsers write them in headers and operators in settings."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

#: The setting that lets every origin in.
ANY_ORIGIN = "*"

#: How the names of the headers begin by which a browser tells what made it send a request.
FETCH_MARKS = "sec-fetch-"

_DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{0,5}))?")
#: Underscores are no part of a host's name by the book, but compose files have them.
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*")


class Host(NamedTuple):
    """A host, by name or address, in lower case and without brackets or a last dot, and its port."""

    name: str
    port: int | None

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address."""
        return _is_address(self.name)

    @property
    def is_loopback_name(self) -> bool:
        """Whether the host is a name that every system takes for itself (RFC 6761 §6.3)."""
        return self.name == "localhost" or self.name.endswith(".localhost")


class Origin(NamedTuple):
    """What a page belongs to; ``port`` is the scheme's own where none is named."""

    scheme: str
    host: str
    port: int | None


def is_from_browser(headers: Mapping[str, str]) -> bool:
    """Whether a request has the marks that only browsers make: no page can set or remove them."""
    return "Origin" in headers or any(name.lower().startswith(FETCH_MARKS) for name in headers)


def parse_host(text: str) -> Host | None:
    """Return what a `Host` header names, or None if it names nothing that is a host."""
    found = _AUTHORITY.fullmatch(text.lower())
    if found is None:
        return None
    name, digits = found[1], found[2]
    if int(digits or 0) > 65535:
        return None
    if name.startswith("["):
        name = name[1:-1]
        known = ":" in name and _is_address(name)
    else:
        name = name.removesuffix(".")
        known = _NAME.fullmatch(name) is not None
    return Host(_shortest(name), int(digits) if digits else None) if known else None


def parse_origin(text: str) -> Origin | None:
    """Return what an `Origin` header names, or None for `null` and what is no origin."""
    scheme, separator, authority = text.partition("://")
    host = parse_host(authority)
    if not separator or host is None or not _SCHEME.fullmatch(scheme.lower()):
        return None
    return origin_at(scheme.lower(), host)


def origin_at(scheme: str, host: Host) -> Origin:
    """Return the origin of what is served at ``host`` by ``scheme``."""
    return Origin(scheme, host.name, _DEFAULT_PORTS.get(scheme) if host.port is None else host.port)


class AllowedOrigins:
    """The origins whose pages may use this server, beside its own."""

    def __init__(self, origins: Iterable[Origin] = (), *, every: bool = False) -> None:
        self._origins = frozenset(origins)
        self._every = every

    def __bool__(self) -> bool:
        return self._every or bool(self._origins)

    def __contains__(self, text: str) -> bool:
        origin = parse_origin(text)
        if self._every:
            # A page without an origin of its own, from a file or in a sandbox, calls it `null`.
            return origin is not None or text == "null"
        return origin in self._origins


def read_origins(entries: Iterable[str], *, protected: bool) -> AllowedOrigins:
    """Return the origins that the settings allow; ``protected``: the server asks for a token.

    Raises ValueError with every mistake.
    """
    given = list(entries)
    every = ANY_ORIGIN in given
    named = {text: parse_origin(text) for text in given if text != ANY_ORIGIN}
    mistakes = [
        f"'{text}' is no origin; write it as scheme://host or scheme://host:port, without a path."
        for text, origin in named.items()
        if origin is None
    ]
    if every and named:
        mistakes.append("'*' stands alone: it allows the others as well.")
    if every and not protected:
        mistakes.append(
            "'*' without a token would give the agent to every page; set CURSORPIPE_BEARER_TOKEN."
        )
    if mistakes:
        raise ValueError(" ".join(mistakes))
    return AllowedOrigins((origin for origin in named.values() if origin is not None), every=every)


def read_hosts(entries: Iterable[str]) -> frozenset[str]:
    """Return the names of hosts that the settings allow; raises ValueError with every mistake."""
    hosts = {text: parse_host(text) for text in entries}
    wrong = [text for text, host in hosts.items() if host is None or host.port is not None]
    if wrong:
        raise ValueError(
            " ".join(f"'{text}' is no name of a host, without scheme and port." for text in wrong)
        )
    return frozenset(host.name for host in hosts.values() if host is not None)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _shortest(name: str) -> str:
    """Return an address in its one short form; a name as it is."""
    return str(ipaddress.ip_address(name)) if _is_address(name) else name
