"""Metrics for Prometheus: calls are counted as they happen; the state of jobs, workers and disk is read on request.

With several processes (`app.processes`) each counts in files of a shared folder, and any of them tells the sums.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from app.processes import METRICS_FOLDER
from app.services import Services


class Metrics:
    """Metrics of one application."""

    def __init__(self, services: Services) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_StateCollector(services))
        own = self.registry
        if METRICS_FOLDER in os.environ:
            own = CollectorRegistry()  # what this process counted is told as a part of the sums
            MultiProcessCollector(self.registry)  # type: ignore[no-untyped-call]
        self._requests = Counter(
            "lipsync_http_requests", "Answered calls.", ["method", "route", "status"], registry=own
        )
        self._seconds = Histogram(
            "lipsync_http_request_seconds",
            "Time to answer, body included.",
            ["method", "route"],
            registry=own,
        )
        listeners = Gauge(
            "lipsync_listeners",
            "Open event streams and held answers.",
            registry=own,
            multiprocess_mode="livesum",
        )
        services.listeners.on_count = listeners.set

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered call.

        Each label has few values, because every new one stays in memory: `route` is the path template, not the path.
        """
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


class _StateCollector:
    def __init__(self, services: Services) -> None:
        self._services = services

    def describe(self) -> list[Metric]:
        """Return nothing: Prometheus asks for this at registration, before Redis may be reached."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the current state."""
        counts = self._services.records.counts()
        jobs = GaugeMetricFamily("lipsync_jobs", "Jobs that have not ended.", labels=["status"])
        for status in ("queued", "running"):
            jobs.add_metric([status], counts[status])
        yield jobs
        moves = CounterMetricFamily(
            "lipsync_job_moves", "Jobs created, ended and retried, and attempts lost.", labels=["move"]
        )
        for name in ("created", "succeeded", "failed", "canceled", "retried", "lost"):
            moves.add_metric([name], counts.get(f"total_{name}", 0))
        yield moves
        workers = len(self._services.records.live_workers())
        yield GaugeMetricFamily("lipsync_workers", "Live workers with their model loaded.", workers)
        free = shutil.disk_usage(self._services.settings.data_dir).free
        yield GaugeMetricFamily("lipsync_disk_free_bytes", "Free disk space of the data folder.", free)
