"""What dependencies are told before they are imported: send nothing, look nothing up, log no words.

`import leadline` tells them, so that every verb, every worker and every notebook is covered; who
asks for the network by name (`leadline reader fetch`, `leadline label` with a provider) gets that
connection and no other. docs/privacy.md has the list.
"""

from __future__ import annotations

import os

TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "ANTHROPIC_OPEN_TELEMETRY": "false",
    "ANTHROPIC_OPEN_TELEMETRY_PROPAGATION": "false",
}
"""Switches of usage reports and traces. They win over what the environment says."""

REQUEST_LOGS = ("ANTHROPIC_LOG", "OPENAI_LOG")
"""Variables that have an SDK write requests, transcripts and all, to stderr."""

OFFLINE = {"HF_HUB_OFFLINE": "1"}
"""Readers are loaded from the disk; nothing that loads one may ask a hub."""

COMMAND = {"OTEL_SDK_DISABLED": "true"}
"""What the command line says beside: a program that imports Leadline may trace itself."""


def send_nothing() -> None:
    """Tell every dependency to report nothing; to be called before any of them is imported."""
    os.environ.update(TELEMETRY)
    for name in REQUEST_LOGS:
        os.environ.pop(name, None)


def stay_offline() -> None:
    """Have the model hub's client refuse every request from here on."""
    os.environ.update(OFFLINE)
