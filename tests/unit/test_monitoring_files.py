"""Dashboard, alerts, mapping and documentation have exactly the metrics that are sent."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hhvm_packaging.reporting import metrics

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy/monitoring"
PROMETHEUS = MONITORING / "prometheus"
ALL = (*metrics.METRICS, *metrics.AIRFLOW_METRICS)
NAMES = {metric.prometheus for metric in ALL}
DOCUMENT = (ROOT / "docs/monitoring.md").read_text()
_NAME = re.compile(r"\b(?:hhvm|airflow)_\w+")
_SELECTOR = re.compile(r"\b((?:hhvm|airflow)_\w+)\{([^}]*)\}")


def alerts() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def dashboard_expressions() -> list[str]:
    dashboard = json.loads((MONITORING / "grafana/dashboards/hhvm-packaging.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def names(expressions: list[str]) -> set[str]:
    """The metrics that the expressions use."""
    # What is quoted is the value of a label.
    return {name for expr in expressions for name in _NAME.findall(re.sub(r'"[^"]*"', '""', expr))}


def expressions() -> list[str]:
    return [*(rule["expr"] for rule in alerts()), *dashboard_expressions()]


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    assert names(dashboard_expressions()) == NAMES


def test_each_metric_has_an_alert_and_no_alert_uses_another() -> None:
    assert names([rule["expr"] for rule in alerts()]) == NAMES


def test_selectors_use_only_labels_that_the_metric_has() -> None:
    labels = {metric.prometheus: metric.labels for metric in ALL}
    for name, selector in (found for expr in expressions() for found in _SELECTOR.findall(expr)):
        assert set(re.findall(r"(\w+)=", selector)) <= set(labels[name]), name


def test_the_exporter_maps_every_metric_to_its_name_and_drops_all_others() -> None:
    *mapped, rest = yaml.safe_load((MONITORING / "statsd-exporter/mapping.yml").read_text())["mappings"]
    assert mapped == [{"match": f"airflow.{metric.name}", "name": metric.prometheus} for metric in ALL]
    assert (rest["match"], rest["match_type"], rest["action"]) == (".", "regex", "drop")


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_the_documentation_has_each_metric_with_its_type_unit_meaning_and_labels(
    metric: metrics.Metric,
) -> None:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    row = f"| `{metric.prometheus}` | {metric.kind} | {metric.unit} | {labels} | {metric.meaning} |"
    assert row in DOCUMENT


def test_the_documentation_says_of_each_alert_and_no_other_what_to_do() -> None:
    assert re.findall(r"^\| `([A-Z]\w+)` \|", DOCUMENT, re.MULTILINE) == [rule["alert"] for rule in alerts()]


def test_each_alert_is_seen_to_fire_by_a_test() -> None:
    tested = (PROMETHEUS / "alerts_test.yml").read_text()
    assert [rule["alert"] for rule in alerts() if f'alertname="{rule["alert"]}"' not in tested] == []


def promtool(*words: str | Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: demo/debian-packages prometheus")
    done = subprocess.run(["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_its_configuration_and_the_alerts() -> None:
    promtool("check", "config", "prometheus.yml")


def test_the_alerts_fire_when_they_should_and_not_when_all_is_well() -> None:
    promtool("test", "rules", "alerts_test.yml")


def test_prometheus_can_read_what_the_dashboard_asks(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(dashboard_expressions())]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", file)
