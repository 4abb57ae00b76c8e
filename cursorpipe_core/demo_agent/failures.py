"""The failures of Cursor's backend, in the words of each mode (CLI contract §4.9, §5.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cursorpipe_core.demo_agent import texts

_EXHAUSTED = "Error: RetriableError: [resource_exhausted] Error"
_USAGE = (
    "Error: ActionRequiredError: You've reached your usage limit. "
    "Upgrade your plan or set a spend limit to continue."
)
_NOT_FOUND = 'Error: I: AI Model Not Found Model name is not valid: "{model}"'


class Failure(NamedTuple):
    """A failure: ``in_band`` is the paragraph in an ACP answer, ``stderr`` what print mode says."""

    doc: str
    in_band: str
    stderr: str = ""
    model: str | None = None

    def texts(self, model: str) -> tuple[str, str]:
        """Return both texts about a model; print mode leaves the first ``Error:`` of a class name away."""
        in_band = self.in_band.replace("{model}", model)
        if self.stderr:
            return in_band, self.stderr.replace("{model}", model)
        notice = in_band.startswith("Error: You've hit")
        return in_band, in_band if notice else in_band.removeprefix("Error: ")


FAILURES: Mapping[str, Failure] = {
    "resource-exhausted": Failure("the backend has no capacity for this request", _EXHAUSTED),
    "unavailable": Failure(
        "the connection breaks", "Error: ConnectError: [unavailable] read ECONNRESET api2.cursor.sh"
    ),
    "non-retriable": Failure(
        "the backend refuses for good", "Error: NonRetriableError: [invalid_argument] Error"
    ),
    "usage-limit": Failure("the plan is spent", _USAGE),
    "usage-limit-notice": Failure("the plan is spent, said in several lines", texts.USAGE_NOTICE),
    "model-blocked": Failure(
        "the team does not allow the model",
        "Error: ActionRequiredError: Model Blocked This model is blocked for your team. "
        "Choose another one or ask your admin to enable it.",
    ),
    "model-not-found": Failure("the backend does not know the model", _NOT_FOUND, model="demo-model"),
    "minified-s": Failure("no capacity, under a minified class name", "Error: S: [resource_exhausted] Error"),
    "minified-t": Failure("no connection, under a minified class name", "Error: T: [unavailable] Error"),
    "minified-i": Failure("no such model, under a minified class name", _NOT_FOUND, model="demo-model"),
    "writable-closed": Failure("the stream to the backend is closed", texts.WRITABLE_CLOSED),
    "dns-failure": Failure(
        "the backend's name cannot be resolved",
        f"Error: ConnectError: {texts.GETADDRINFO}",
        f"Error: {texts.GETADDRINFO}",
    ),
    "connection-lost": Failure(
        "the backend is lost after several attempts",
        f"Error: ConnectError: [unavailable] {texts.CONNECTION_LOST}",
        texts.CONNECTION_LOST,
    ),
    "capacity": Failure("the provider has no capacity", _EXHAUSTED),
    "plan-limit": Failure("the plan is spent", _USAGE),
}
