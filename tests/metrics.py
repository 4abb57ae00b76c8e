"""What a server's `/metrics` says, as samples."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient
from prometheus_client.parser import text_string_to_metric_families

Client = TestClient[web.Request, web.Application]


class Samples:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self._samples = [sample for family in self.families for sample in family.samples]

    @property
    def names(self) -> set[str]:
        """The names that a query can use."""
        return {sample.name for sample in self._samples}

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of what is told by this name with these labels."""
        return float(sum(sample.value for sample in self._found(name, labels)))

    def told(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return what is told by this name, by the values of these labels; zeros are left out."""
        return {
            tuple(sample.labels[label] for label in labels): sample.value
            for sample in self._found(name, {})
            if sample.value
        }

    def values(self, name: str, label: str) -> dict[str, set[float]]:
        """Return every value that is told by this name, by one label."""
        found: dict[str, set[float]] = {}
        for sample in self._found(name, {}):
            found.setdefault(sample.labels[label], set()).add(sample.value)
        return found

    def _found(self, name: str, labels: dict[str, str]) -> list[Any]:
        return [
            sample
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]


async def scrape(client: Client) -> Samples:
    """Read the metrics of a server."""
    async with client.get("/metrics") as response:
        assert response.status == 200
        return Samples(await response.text())
