"""Are metrics what Prometheus takes, and do the alerts and the dashboard that go with them speak of what is there?"""

import json
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest

from bench.ports import free_port
from tests.harness.clients import program, run
from tests.harness.running import get
from tests.harness.topologies import Node, Topology
from tests.harness.waiting import until

pytestmark = pytest.mark.native

MONITORING = Path(__file__).resolve().parents[2] / "docs" / "monitoring"
RINGING = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'up{{job="entrepot",instance="a"}}', values: "0x20"}}
      - {{series: 'entrepot_origin_connected{{instance="b"}}', values: "1x3 0x20"}}
      - {{series: 'entrepot_requests_total{{instance="c",status="200"}}', values: "0+100x20"}}
      - {{series: 'entrepot_requests_total{{instance="c",status="503"}}', values: "0+5x20"}}
      - {{series: 'entrepot_requests_total{{instance="d",status="200"}}', values: "0+100x20"}}
      - {{series: 'entrepot_workspace_bytes{{workspace="full"}}', values: "90x20"}}
      - {{series: 'entrepot_workspace_bin_bytes{{workspace="full"}}', values: "5x20"}}
      - {{series: 'entrepot_workspace_quota_bytes{{workspace="full"}}', values: "100x20"}}
      - {{series: 'entrepot_workspace_bytes{{workspace="unbound"}}', values: "90x20"}}
      - {{series: 'entrepot_workspace_bin_bytes{{workspace="unbound"}}', values: "5x20"}}
      - {{series: 'entrepot_workspace_quota_bytes{{workspace="unbound"}}', values: "0x20"}}
      - {{series: 'entrepot_webhook_enabled{{workspace="w",webhook="off"}}', values: "0x20"}}
      - {{series: 'entrepot_webhook_enabled{{workspace="w",webhook="on"}}', values: "1x20"}}
      - {{series: 'entrepot_webhook_given_up_total{{workspace="w",webhook="on"}}', values: "3x20"}}
      - {{series: 'entrepot_edge_holes{{instance="o",edge="bad",region="r"}}', values: "2x20"}}
      - {{series: 'entrepot_edge_holes{{instance="o",edge="well",region="r"}}', values: "0x20"}}
      - {{series: 'entrepot_edge_silent_seconds{{instance="o",edge="gone",region="r"}}', values: "0+60x20"}}
      - {{series: 'entrepot_edge_silent_seconds{{instance="o",edge="well",region="r"}}', values: "9x20"}}
    alert_rule_test:
      - eval_time: 18m
        alertname: EntrepotEdgeHoles
        exp_alerts: [{{exp_labels: {{severity: page, instance: o, edge: bad, region: r}}}}]
      - {{eval_time: 2m, alertname: EntrepotEdgeSilent}}
      - eval_time: 18m
        alertname: EntrepotEdgeSilent
        exp_alerts: [{{exp_labels: {{severity: warn, instance: o, edge: gone, region: r}}}}]
      - eval_time: 18m
        alertname: EntrepotDown
        exp_alerts: [{{exp_labels: {{severity: page, job: entrepot, instance: a}}}}]
      - {{eval_time: 2m, alertname: EntrepotAlone}}
      - eval_time: 18m
        alertname: EntrepotAlone
        exp_alerts: [{{exp_labels: {{severity: page, instance: b}}}}]
      - eval_time: 18m
        alertname: EntrepotFails
        exp_alerts: [{{exp_labels: {{severity: page, instance: c}}}}]
      - eval_time: 18m
        alertname: EntrepotQuotaNearlyUsed
        exp_alerts: [{{exp_labels: {{severity: warn, workspace: full}}}}]
      - eval_time: 18m
        alertname: EntrepotWebhookFails
        exp_alerts: [{{exp_labels: {{severity: warn, workspace: w, webhook: "off"}}}}]
"""


def expressions() -> list[str]:
    """Those of the dashboard, with what Grafana puts into them."""
    told = json.loads((MONITORING / "dashboard.json").read_text())
    found = [target["expr"] for panel in told["panels"] for target in panel["targets"]]
    return [one.replace("$__rate_interval", "5m").replace("$instance", ".*") for one in found]


WANTED = (
    ("entrepot_webhook_enabled{", "entrepot_edge_holes{"),
    ("entrepot_replication_files{", "entrepot_cache_share_bytes{"),
)
"""What an origin and an edge come to tell after a moment."""


def told_with(node: Node, token: str, wanted: tuple[str, ...]) -> str:
    """The metrics of a node, "" while they are without these."""
    told = node.get("/-/metrics", token).body.decode()
    return told if all(one in told for one in wanted) else ""


def test_the_alerts_ring_when_they_should_and_every_expression_is_one(tmp_path: Path) -> None:
    promtool = program("promtool")
    run([promtool, "check", "rules", str(MONITORING / "alerts.yml")])
    # an alert of a test is told its annotations too; what they say is no part of what is tried here
    bare = re.sub(r"\n +annotations:(?:\n {10,}.*| .*)", "", (MONITORING / "alerts.yml").read_text())
    assert "annotations" not in bare
    (tmp_path / "alerts.yml").write_text(bare)
    (tmp_path / "ringing.yml").write_text(RINGING.format(rules=tmp_path / "alerts.yml"))
    run([promtool, "test", "rules", str(tmp_path / "ringing.yml")])
    made = [{"record": f"dashboard:{number}", "expr": one} for number, one in enumerate(expressions())]
    (tmp_path / "dashboard.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": made}]}))
    run([promtool, "check", "rules", str(tmp_path / "dashboard.yml")])


def test_prometheus_takes_the_metrics_and_what_is_watched_is_there(tmp_path: Path) -> None:
    promtool = program("promtool")
    with Topology(tmp_path, '[cache]\nshares = ["acme/builds=5-40"]\n') as world:
        mine = world.repository("acme", "builds")
        hook = {"name": "ci", "url": f"http://127.0.0.1:{free_port()}/", "private_network": True}
        headers = {"Authorization": f"Bearer {world.token}", "Content-Type": "application/json"}
        path = f"{world.origin.url}/-/api/v1/workspaces/acme/webhooks"
        assert get(path, headers, "POST", json.dumps(hook).encode()).status == 201
        world.entrepot("replication", "set", mine, "--region", "asia")
        edge = world.edge("tokyo", "asia")
        assert world.put(mine, "a/1.bin", b"a").status == 201
        names: set[str] = set()
        for node in (world.origin, edge):
            text = until(partial(told_with, node, world.token, WANTED[node is edge]))
            done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
            assert (done.returncode, done.stdout + done.stderr) == (0, ""), done
            names |= {line.partition(" ")[0].partition("{")[0] for line in text.splitlines() if line[0] != "#"}
            assert all(name.startswith("entrepot_") for name in names)
    watched = "\n".join(
        [*expressions(), (MONITORING / "alerts.yml").read_text(), (MONITORING / "README.md").read_text()]
    )
    asked = set(re.findall(r"\bentrepot_[a-z_]+", watched))
    assert len(asked) > 20
    there = names | {name.removesuffix(ending) for name in names for ending in ("_bucket", "_count")}
    assert asked <= there, asked - there
