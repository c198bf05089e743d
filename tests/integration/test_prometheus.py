# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/examples/prometheus: rules by promtool, and both files against a real Prometheus that reads a real verifier and watch."""
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import fleet as f
import pytest
import relying
import vault
import world as w
import yaml
from test_verifier import GOLDEN, fleet, make_party, started  # noqa: F401

EXAMPLES = w.TOP / "docs/examples/prometheus"
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
ALTERED = [*GOLDEN[:4], b"\xab" * 48, *GOLDEN[5:]]

pytestmark = pytest.mark.skipif(not PROMETHEUS, reason="Debian's package prometheus is not installed")


def rules():
    return [r for group in yaml.safe_load((EXAMPLES / "rules.yaml").read_text())["groups"] for r in group["rules"]]


def panels():
    return json.loads((EXAMPLES / "dashboard.json").read_text())["panels"]


def queries():
    return [r["expr"] for r in rules()] + [t["expr"] for p in panels() for t in p["targets"]]


def test_promtool():
    assert b"SUCCESS" in w.run(PROMTOOL, "check", "rules", "--lint-fatal", EXAMPLES / "rules.yaml").stdout
    done = w.run(PROMTOOL, "test", "rules", "rules.test.yaml", cwd=EXAMPLES, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_is_tested(tmp_path):
    """Its test fails without it."""
    text = yaml.safe_load((EXAMPLES / "rules.yaml").read_text())
    shutil.copy(EXAMPLES / "rules.test.yaml", tmp_path)
    for i, rule in enumerate(rules()):
        kept = [r for k, r in enumerate(text["groups"][0]["rules"]) if k != i]
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": kept}]}))
        assert w.run(PROMTOOL, "test", "rules", "rules.test.yaml", cwd=tmp_path, check=False).returncode != 0, rule["alert"]


class Prometheus:
    def __init__(self, folder, verifier, ca, watch_port):
        self.port = vault.free_port()
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [str(EXAMPLES / "rules.yaml")],
                  "scrape_configs": [
                      {"job_name": "mu-verifier", "scheme": "https", "tls_config": {"ca_file": str(ca)},
                       "static_configs": [{"targets": [verifier.address]}]},
                      {"job_name": "mu-verifier-watch", "static_configs": [{"targets": [f"127.0.0.1:{watch_port}"]}]}]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen([PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                                             f"--web.listen-address=127.0.0.1:{self.port}"], stderr=log)

    def ask(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def series(self, query):
        return self.ask("query", query=query)["result"]

    def answers(self):
        """It listens before it is ready, and says 503 until then."""
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready").close()
        except OSError:
            assert self.process.poll() is None
            return False
        return {r["metric"]["job"] for r in self.series("up == 1")} == {"mu-verifier", "mu-verifier-watch"}

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def prometheus(tmp_path, fleet, started):  # noqa: F811
    """A fleet of one good instance and an altered one, both heard of just now."""
    store, watch_port = f"sqlite:{tmp_path}/fleet", w.two_free_ports()
    party = make_party(tmp_path / "party", fleet)
    party.settings["store"] = store
    party.write()
    verifier = started(party)
    watch = f.Watch(tmp_path, store)
    watch.sections["watch"]["metrics"] = f"127.0.0.1:{watch_port}"
    assert verifier.attest(fleet.draft(verifier.nonce(), GOLDEN).encode())[0] == 200
    assert verifier.attest(fleet.draft(verifier.nonce(), ALTERED, instance="i-0ce4441c840a0a941").encode())[0] == 403
    watch.start()
    prometheus = Prometheus(tmp_path, verifier, party.ca, watch_port)
    try:
        f.until(prometheus.answers)
        yield prometheus
    finally:
        prometheus.stop()
        watch.stop()


def test_every_query_finds_its_series(prometheus):
    names = {name for query in queries() for name in re.findall(r"measured_unlock_\w+", query)}
    assert len(names) > 10
    for name in names:
        f.until(lambda name=name: prometheus.series(name))
    for query in queries():
        prometheus.series(query)
    with pytest.raises(AssertionError, match="parse error"):
        prometheus.series("sum(")


def test_labels_are_those_of_the_programs(prometheus):
    """A selector that no series can match would never fire."""
    for name, label, value in re.findall(r'(measured_unlock_\w+)\{(\w+)="([^"]+)"\}', " ".join(queries())):
        f.until(lambda name=name, label=label, value=value: prometheus.series(f'{name}{{{label}="{value}"}}'))


def test_an_altered_instance_raises_its_alert(prometheus):
    def firing():
        return {a["labels"]["alertname"] for a in prometheus.ask("alerts")["alerts"] if a["state"] == "firing"}
    f.until(lambda: "MeasuredUnlockMismatch" in firing())
    assert not firing() & {"MeasuredUnlockMissing", "MeasuredUnlockAllSilent", "MeasuredUnlockVerifierUnhealthy",
                           "MeasuredUnlockCertificateExpires", "MeasuredUnlockWatchBlind"}


def test_dashboard():
    """What Grafana asks of one: panels with numbers of their own that do not overlap, and a source to choose."""
    dashboard = json.loads((EXAMPLES / "dashboard.json").read_text())
    assert [v["type"] for v in dashboard["templating"]["list"]] == ["datasource"] and dashboard["uid"]
    assert len({p["id"] for p in panels()}) == len(panels()) > 8
    cells = [(x, y) for p in panels() for x in range(p["gridPos"]["x"], p["gridPos"]["x"] + p["gridPos"]["w"])
             for y in range(p["gridPos"]["y"], p["gridPos"]["y"] + p["gridPos"]["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) == 23
    for panel in panels():
        assert panel["title"] and all(t["datasource"]["uid"] == "${source}" and t["expr"] for t in panel["targets"])
