"""Metric families of numbers that are counted elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from cursorpipe_core import DurationsSnapshot

#: The values of the labels of one sample.
Labels = tuple[str, ...]


def counter(name: str, about: str, value: float) -> CounterMetricFamily:
    """Return a number that only grows."""
    return CounterMetricFamily(name, about, value=value)


def gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    """Return a number as it is now."""
    return GaugeMetricFamily(name, about, value=value)


def counters(
    name: str, about: str, labels: Sequence[str], values: Mapping[Labels, float]
) -> CounterMetricFamily:
    """Return numbers that only grow, by their labels."""
    family = CounterMetricFamily(name, about, labels=labels)
    for given, value in values.items():
        family.add_metric(given, value)
    return family


def gauges(name: str, about: str, labels: Sequence[str], values: Mapping[Labels, float]) -> GaugeMetricFamily:
    """Return numbers as they are now, by their labels."""
    family = GaugeMetricFamily(name, about, labels=labels)
    for given, value in values.items():
        family.add_metric(given, value)
    return family


def histograms(
    name: str, about: str, labels: Sequence[str], values: Mapping[Labels, DurationsSnapshot]
) -> HistogramMetricFamily:
    """Return durations, by their labels."""
    family = HistogramMetricFamily(name, about, labels=labels)
    for given, durations in values.items():
        buckets: list[tuple[str, float]] = []
        below = 0
        for bound, count in zip((*durations.bounds, float("inf")), durations.counts, strict=True):
            below += count
            buckets.append((_as_text(bound), below))
        family.add_metric(given, buckets, durations.sum_s)
    return family


def _as_text(bound: float) -> str:
    """Return the upper bound of a bucket as Prometheus writes it."""
    return "+Inf" if bound == float("inf") else str(float(bound))
