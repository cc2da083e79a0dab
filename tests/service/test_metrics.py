"""Counts of one process as OpenMetrics."""

import threading

from leadline.service.metrics import BOUNDS, Metrics


def test_buckets_are_cumulative_and_end_with_all():
    metrics = Metrics()
    for seconds in (0.001, 0.03, 99.0):
        metrics.request("GET", "/x", 200, seconds)
    lines = metrics.text({"lag_seconds": 2.5}).splitlines()
    counts = [int(line.split()[-1]) for line in lines if "_bucket" in line]
    assert counts == sorted(counts)
    assert len(counts) == len(BOUNDS) + 1
    assert counts[0] == 1
    assert counts[-1] == 3
    assert "leadline_request_seconds_sum 99.031000" in lines
    assert "leadline_lag_seconds 2.5" in lines
    assert lines[-1] == "# EOF"


def test_threads_lose_no_count():
    metrics = Metrics()

    def count():
        for _ in range(500):
            metrics.items("message", ["stored"])

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 'leadline_items_total{kind="message",status="stored"} 2000' in metrics.text({})
