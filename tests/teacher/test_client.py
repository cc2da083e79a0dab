"""Which server is asked, and with which key."""

from __future__ import annotations

import json

import pytest
from tests.support.teacher_cohort import config, make_cohort, texts
from tests.support.teacher_server import TeacherServer

from leadline.errors import LeadlineError
from leadline.teacher.client import plain_code, resolve_url
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort


def test_urls_are_explicit(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://elsewhere.example.org")
    assert resolve_url("anthropic", None) == "https://api.anthropic.com"
    for bad in ("api.example.org", "ftp://example.org", "http://", "https://me:pw@example.org"):
        with pytest.raises(LeadlineError, match="--base-url"):
            resolve_url("openai", bad)


def test_plain_http_to_another_machine_is_refused(tmp_path):
    cohort = make_cohort(tmp_path / "c", texts(3), text_may_leave=True)
    away = LabelConfig(teacher="openai", model="m", base_url="http://example.org/v1")
    with pytest.raises(LeadlineError, match="encryption"):
        label_cohort(cohort, tmp_path / "l", away)


def test_loopback_ignores_proxy_environment_and_redirects(tmp_path, server, monkeypatch):
    cohort = make_cohort(tmp_path / "c", texts(3), locked=0)
    with TeacherServer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("OPENAI_BASE_URL", proxy.url)
        monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
        label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1))
        assert len(server.asked) == 3
        assert proxy.bodies == []
    assert "secret-key" not in json.dumps(server.headers)
    server.faults = ["redirect"]
    report = label_cohort(cohort, tmp_path / "m", config(server, "openai", draws=1))
    assert report["errors"] == {"http 307": 1}


def test_missing_key_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    cohort = make_cohort(tmp_path / "c", texts(3), text_may_leave=True)
    with pytest.raises(LeadlineError, match="ANTHROPIC_API_KEY"):
        label_cohort(cohort, tmp_path / "l", LabelConfig(teacher="anthropic", model="m"))


def test_a_code_of_a_provider_is_shown_only_in_the_usual_words():
    for code in ("invalid_request", "rate_limit_error", "batch_expired", "no response"):
        assert plain_code(code) == code
    assert plain_code("invalid_request: I feel hopeless") == "another code"
    assert plain_code("error " * 40) == "another code"
