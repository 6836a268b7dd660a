"""Guarantees of SECURITY.md that no other test covers."""

from __future__ import annotations

import os
import re
from pathlib import Path

import harexport

_ROOT = Path(__file__).resolve().parents[1]


def test_telemetry_is_off() -> None:
    assert harexport.__version__
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_the_app_requests_only_the_permissions_of_its_service() -> None:
    manifest = (_ROOT / "android_demo" / "app" / "src" / "main" / "AndroidManifest.xml").read_text("utf-8")
    requested = re.findall(r'<uses-permission[\w-]*\s+android:name="android\.permission\.(\w+)"', manifest)
    assert sorted(requested) == [
        "FOREGROUND_SERVICE",
        "FOREGROUND_SERVICE_HEALTH",
        "HIGH_SAMPLING_RATE_SENSORS",
        "POST_NOTIFICATIONS",
        "VIBRATE",
        "WAKE_LOCK",
    ]
    assert len(re.findall(r"<uses-permission(?![^>]*tools:node=\"remove\")", manifest)) == len(requested)


def test_every_test_that_security_md_names_exists() -> None:
    named = re.findall(r"`(tests/[^`]+)`", (_ROOT / "SECURITY.md").read_text("utf-8"))
    assert len(named) > 10
    for name in named:
        assert (_ROOT / name).exists(), name
