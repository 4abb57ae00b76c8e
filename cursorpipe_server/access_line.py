"""The line of a request: what it asked, who served it, how long each part took, how it ended."""

from __future__ import annotations

from typing import NamedTuple

from cursorpipe_server.outcomes import OK


class AccessLine(NamedTuple):
    """What the line tells; times in seconds, ``tokens`` are those of the prompt and of the answer."""

    method: str
    path: str
    status: int | None
    took_s: float
    client: str
    model: str | None
    backend: str | None
    first_s: float | None
    tokens: tuple[int, int] | None
    estimated: bool
    tools: str | None
    outcome: str

    def __str__(self) -> str:
        """Return it for people."""
        parts = [
            f"{self.method} {self.path} {self.status or '-'} {self.took_s * 1000:.1f}ms",
            f" client={self.client} model={self.model or '-'} backend={self.backend or '-'}",
        ]
        if self.first_s is not None:
            parts.append(f" first={self.first_s * 1000:.1f}ms")
        if self.tokens is not None:
            about = "~" if self.estimated else ""
            parts.append(f" tokens={about}{self.tokens[0]}+{self.tokens[1]}")
        if self.tools is not None:
            parts.append(f" tools={self.tools}")
        if self.outcome != OK:
            parts.append(f" ({self.outcome})")
        return "".join(parts)

    def fields(self) -> dict[str, object]:
        """Return it for machines: what is not known is left out."""
        found: dict[str, object] = {
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "total_ms": round(self.took_s * 1000, 1),
            "client": self.client,
            "model": self.model,
            "backend": self.backend,
            "first_text_ms": None if self.first_s is None else round(self.first_s * 1000, 1),
            "tools": self.tools,
            "outcome": self.outcome,
        }
        if self.tokens is not None:
            found["input_tokens"], found["output_tokens"] = self.tokens
            found["tokens_estimated"] = self.estimated
        return {name: value for name, value in found.items() if value is not None}
