"""What the files of the containers promise; `make compose-check` sees it kept by a real Docker Engine."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from app.core.settings import PREFIX, Settings
from tests.conftest import ROOT

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "services.yml").read_text())["services"]
# Fixed in the image, or of no use in a container.
IN_THE_IMAGE = {"data_dir", "host", "port", "checkpoint", "speech_encoder", "ffmpeg"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and service["pids_limit"] > 0
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "pid", "network_mode"} & set(service)
    assert all(volume.split(":")[0] in ("data", "redis") for volume in service["volumes"]), "only named volumes"


def test_only_the_api_reaches_out() -> None:
    assert {name for name, service in SERVICES.items() if service["networks"] != ["inside"]} == {"api"}
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"api"}
    assert SERVICES["api"]["ports"] == ["${API_ADDRESS:-127.0.0.1}:${API_PORT:-8000}:8000"]
    for file in ("docker-compose.yml", "docker/compose.cpu.yml"):
        assert yaml.safe_load((ROOT / file).read_text())["networks"]["inside"] == {"internal": True}


def test_nobody_is_root() -> None:
    for file in ("app.Dockerfile", "worker.Dockerfile"):
        users = re.findall(r"^USER (\S+)", (ROOT / "docker" / file).read_text(), re.MULTILINE)
        assert users == ["lipsync"]
    assert SERVICES["redis"]["user"] == "redis"


def test_a_container_asks_for_keys() -> None:
    assert "LIPSYNC_AUTH=${LIPSYNC_AUTH:-keys}" in SERVICES["api"]["environment"]


def test_every_setting_can_be_passed_on() -> None:
    passed = {line.partition("=")[0] for service in SERVICES.values() for line in service.get("environment", ())}
    assert {f"{PREFIX}{name.upper()}" for name in set(Settings.model_fields) - IN_THE_IMAGE} <= passed


def test_a_worker_with_a_gpu_has_its_video_codecs_too() -> None:
    worker = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["worker"]
    assert worker["environment"] == ["NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"]
    assert worker["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
