"""Settings of a teacher that cannot be meant, what is this machine, what needs no extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

from leadline.errors import LeadlineError
from leadline.teacher.config import LabelConfig, is_loopback


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"teacher": "anthropic"}, "--model"),
        ({"teacher": "gpt"}, "--teacher"),
        ({"who": "everyone"}, "--who"),
        ({"draws": 0}, "--draws"),
        ({"repeat": "failed,done"}, "--repeat"),
        ({"examples": -1}, "--examples"),
        ({"examples": 2}, "--examples 2 with --teacher simulated"),
    ],
)
def test_bad_settings_name_their_flag(change, flag):
    with pytest.raises(LeadlineError, match=flag):
        LabelConfig(**change)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:1/v1", True),
        ("http://LOCALHOST:1/v1", True),
        ("https://api.openai.com/v1", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0:1", False),
        ("http://localhost@example.org", False),
        ("http://localhost.", False),
        ("http://127.0.0.1.nip.io", False),
    ],
)
def test_loopback_is_told_from_lookalikes(url, local):
    assert is_loopback(url) == local


BARE = """
import sys
for name in ("anthropic", "httpx2", "openai", "pydantic", "tenacity"):
    sys.modules[name] = None  # importing it fails as if it were not installed
from leadline.cli.app import main
sys.argv = ["leadline", *sys.argv[1:]]
main()
"""


def leadline_without_the_extra(*arguments):
    return subprocess.run(
        [sys.executable, "-c", BARE, *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_help_needs_no_package_of_the_extra():
    result = leadline_without_the_extra("label", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "--concurrency" in result.stdout


@pytest.mark.parametrize("bad", [("--draws", "0"), ("--teacher", "openai")])
def test_settings_are_checked_before_packages_are_asked_for(tmp_path, bad):
    result = leadline_without_the_extra("label", tmp_path, "--out", tmp_path / "l", *bad)
    assert result.returncode == 2
    assert bad[0] in result.stderr
    assert "pip install" not in result.stderr


def test_labelling_says_what_to_install(tmp_path):
    result = leadline_without_the_extra("label", tmp_path, "--out", tmp_path / "labels")
    assert result.returncode == 2
    assert "leadline label needs the package" in result.stderr
    assert "pip install 'leadline[teacher]'" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "labels").exists()


def test_a_missing_sdk_is_named():
    code = """
import sys
sys.modules["anthropic"] = None
from leadline.errors import LeadlineError
from leadline.teacher.anthropic_client import AnthropicClient
from leadline.teacher.client import Connection
from leadline.teacher.config import LabelConfig
try:
    AnthropicClient(Connection(LabelConfig(teacher="anthropic", model="m"), "http://127.0.0.1"))
except LeadlineError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "needs the package anthropic" in result.stdout
