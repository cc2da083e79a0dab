"""What the service counts, as OpenMetrics text; labels are routes and words of ours alone."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds


class Metrics:
    """Counts of one process. For many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._items: Counter[tuple[str, str]] = Counter()
        self._buckets: Counter[float] = Counter()
        self._seconds = 0.0

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        with self._lock:
            self._requests[(method, route, status)] += 1
            self._seconds += seconds
            for bound in BOUNDS:
                self._buckets[bound] += seconds <= bound

    def items(self, kind: str, statuses: Iterable[str]) -> None:
        """Count what became of the items of a batch."""
        with self._lock:
            for status in statuses:
                self._items[(kind, status)] += 1

    def text(self, gauges: Mapping[str, float]) -> str:
        """All of it, with figures of the store beside."""
        with self._lock:
            lines = ["# TYPE leadline_requests counter"]
            for (method, route, status), count in sorted(self._requests.items()):
                labels = f'method="{method}",route="{route}",status="{status}"'
                lines.append(f"leadline_requests_total{{{labels}}} {count}")
            lines.append("# TYPE leadline_items counter")
            for (kind, outcome), count in sorted(self._items.items()):
                lines.append(f'leadline_items_total{{kind="{kind}",status="{outcome}"}} {count}')
            lines += self._histogram(sum(self._requests.values()))
        for name, value in gauges.items():
            lines += [f"# TYPE leadline_{name} gauge", f"leadline_{name} {value:g}"]
        return "\n".join([*lines, "# EOF", ""])

    def _histogram(self, count: int) -> list[str]:
        name = "leadline_request_seconds"
        return [
            f"# TYPE {name} histogram",
            *(f'{name}_bucket{{le="{bound}"}} {self._buckets[bound]}' for bound in BOUNDS),
            f'{name}_bucket{{le="+Inf"}} {count}',
            f"{name}_sum {self._seconds:.6f}",
            f"{name}_count {count}",
        ]
