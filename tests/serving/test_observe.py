"""Prometheus and Grafana: they look where the engines are, at metrics that the engines have."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from tests.support import ROOT
from wardround.serving import ENGINES, find_engine
from wardround.serving.engines import PORT

OBSERVE = ROOT / "servers" / "observe"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
DASHBOARD: dict[str, Any] = json.loads(
    (OBSERVE / "grafana" / "dashboards" / "engines.json").read_text(encoding="utf-8")
)
PROMETHEUS: dict[str, Any] = yaml.safe_load((OBSERVE / "prometheus.yml").read_text(encoding="utf-8"))
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def provisioned(kind: str, name: str) -> dict[str, Any]:
    path = OBSERVE / "grafana" / "provisioning" / kind / name
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def known_metrics() -> set[str]:
    metrics = [find_engine(name).metrics for name in ENGINES]
    return {
        value for one in metrics if one for key, value in one.model_dump(exclude_none=True).items() if key != "path"
    }


def test_engines_are_found_by_the_name_they_share() -> None:
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in PROMETHEUS["scrape_configs"]}
    assert jobs["engines"]["port"] == PORT
    (name,) = jobs["engines"]["names"]
    assert COMPOSE["services"]["llama-3-8b-instruct"]["networks"]["default"]["aliases"] == [name]
    assert jobs["embedded"] == {**jobs["embedded"], "names": ["embedded"], "port": 8600}


def test_every_panel_asks_for_metrics_that_an_engine_has() -> None:
    asked = {name for text in EXPRESSIONS for name in re.findall(r"[a-z]+:\w+|tgi_\w+", text)}
    assert len(asked) > 15
    assert {name.removesuffix("_bucket") for name in asked} <= known_metrics()


@pytest.mark.parametrize("name", [name for name in ENGINES if find_engine(name).metrics])
def test_every_engine_with_metrics_is_seen(name: Any) -> None:
    metrics = find_engine(name).metrics
    assert metrics is not None
    for metric in (metrics.running, metrics.waiting, metrics.tokens):
        assert any(metric and metric in text for text in EXPRESSIONS), metric


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert [panel["title"] for panel in DASHBOARD["panels"] if not panel["description"]] == []


def test_grafana_knows_prometheus_and_the_dashboard() -> None:
    (source,) = provisioned("datasources", "prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    (provider,) = provisioned("dashboards", "dashboards.yml")["providers"]
    mounted = COMPOSE["services"]["grafana"]["volumes"]
    assert f"./servers/observe/grafana/dashboards:{provider['options']['path']}:ro" in mounted


def test_grafana_asks_for_no_password_and_calls_nobody() -> None:
    environment = COMPOSE["services"]["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    for name in ("REPORTING_ENABLED", "CHECK_FOR_UPDATES", "CHECK_FOR_PLUGIN_UPDATES"):
        assert environment[f"GF_ANALYTICS_{name}"] == "false"
