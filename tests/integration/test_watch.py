# SPDX-License-Identifier: GPL-2.0-or-later
"""mu-verifier watch: each transition of an instance is one event, on both stores, whatever is killed, slow or down."""
import datetime
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import fleet as f
import pytest
import tls
import world as w

ONE, TWO = "i-0000000000000000a", "i-0000000000000000b"
DETAIL = "baseline: PCR 4: expected 1111, found 2222"


@pytest.fixture
def watch(store, tmp_path):
    watch = f.Watch(tmp_path, store)
    yield watch
    if watch.process is not None and watch.process.poll() is None:
        watch.process.kill()
        watch.process.wait()


@pytest.fixture
def hook():
    hook = f.Hook()
    yield hook
    hook.stop()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ca")
    key, cert = tls.authority("fleet test CA")
    (folder / "ca.pem").write_bytes(tls.pem(cert))
    context = tls.server(folder / "server.pem", "fleet test CA", key, ["localhost", "127.0.0.1"], (-1, 30))
    return SimpleNamespace(file=folder / "ca.pem", context=context)


@pytest.mark.parametrize("name", ["store", "history"])
def test_store_passes_its_unit_tests_on_postgresql(postgresql, name):
    program = w.TOP / f"build/shared/unit/test_{name}"
    if not program.exists():
        pytest.skip("the unit tests are not built")
    w.run(program, env={**os.environ, "MU_TEST_STORE": postgresql.database()})


def test_each_transition_is_told_once(watch):
    watch.once()
    f.record(watch.store, (ONE, 100, True, ""), (TWO, 90, True, ""))
    watch.once()
    assert sorted(watch.kinds()) == [(ONE, "first-seen"), (TWO, "first-seen")]
    watch.once()
    assert watch.kinds() == []
    f.record(watch.store, (ONE, 80, False, DETAIL), (ONE, 70, False, DETAIL))
    watch.once()
    told = watch.told()
    assert [(e["instance_id"], e["event"], e["detail"]) for e in told] == [(ONE, "mismatch", DETAIL)]
    f.record(watch.store, (ONE, 60, False, DETAIL), (TWO, 60, True, ""))
    watch.once()
    assert watch.kinds() == []
    f.record(watch.store, (ONE, 50, True, ""))
    watch.once()
    assert watch.kinds() == [(ONE, "recovered")]
    watch.sections["watch"]["silence"] = 55
    watch.once()
    assert watch.kinds() == [(TWO, "missing")]
    watch.once()
    assert watch.kinds() == []
    f.record(watch.store, (TWO, 0, True, ""))
    watch.once()
    assert watch.kinds() == [(TWO, "recovered")]


def test_event_says_what_is_known(watch):
    watch.once()
    f.record(watch.store, (ONE, 30, True, ""), (ONE, 20, False, DETAIL))
    watch.once()
    first, event = watch.told()
    assert first["id"] < event["id"] and first["event"] == "first-seen" and first["detail"] == ""
    assert set(event) == {"id", "event", "instance_id", "at", "last_seen", "last_good", "baseline", "baseline_version",
                          "state", "detail", "address"}
    assert (event["baseline"], event["baseline_version"], event["state"]) == ("web", "7", "running")
    assert event["last_good"] < event["last_seen"] < event["at"] and event["at"].endswith("Z")
    assert event["address"] == "192.0.2.1"


def test_mismatch_between_two_looks_is_not_lost(watch):
    watch.once()
    f.record(watch.store, (ONE, 30, True, ""))
    watch.once()
    f.record(watch.store, (ONE, 20, False, DETAIL), (ONE, 10, True, ""))
    watch.told()
    watch.once()
    assert [(e["event"], e["detail"]) for e in watch.told()] == [("mismatch", DETAIL), ("recovered", "")]


def test_history_is_not_sent_to_a_new_sink(watch):
    f.record(watch.store, (ONE, 30, True, ""))
    del watch.sections["command"]
    watch.once()
    watch.sections["command"] = {"path": watch.command}
    watch.once()
    assert watch.told() == []
    f.record(watch.store, (ONE, 20, False, DETAIL))
    watch.once()
    assert watch.kinds() == [(ONE, "mismatch")]


def test_killed_while_it_delivers(watch):
    """Nothing is lost; what may be sent twice has the same id."""
    watch.once()
    watch.sections["command"]["path"] = watch.script("slow", f"cat >> '{watch.events}'; echo >> '{watch.events}'; exec sleep 5 2>/dev/null")
    f.record(watch.store, (ONE, 1, False, DETAIL))
    watch.start()
    f.until(lambda: watch.events.exists() and watch.events.read_text().endswith("\n"))
    assert watch.stop(signal.SIGKILL)[0] == -signal.SIGKILL
    before = watch.told()
    watch.sections["command"]["path"] = watch.command
    watch.once()
    after = watch.told()
    assert [e["event"] for e in before] == ["first-seen"]
    assert [e["event"] for e in after] == ["first-seen", "mismatch"] and after[0]["id"] == before[0]["id"]
    assert {**after[0]} == before[0]


def test_killed_at_any_time(watch):
    """Killed again and again while it looks: all transitions reach the command, and no id stands for two."""
    watch.once()
    f.record(watch.store, *[(f"i-{n:017x}", 5, n % 2, DETAIL) for n in range(60)])
    for _ in range(6):
        watch.start()
        time.sleep(0.15)
        watch.stop(signal.SIGKILL)
    watch.once()
    told = {e["id"]: (e["instance_id"], e["event"]) for e in watch.told()}
    expected = [(f"i-{n:017x}", kind) for n in range(60) for kind in (["first-seen"] if n % 2 else
                                                                      ["first-seen", "mismatch"])]
    assert sorted(told.values()) == sorted(expected)


def test_service_stops_in_time(watch):
    f.record(watch.store, (ONE, 1, True, ""))
    watch.start()
    f.until(lambda: watch.list()[0]["announced"] == "ok")
    started = time.monotonic()
    assert watch.stop()[0] == 0 and time.monotonic() - started < 5 * w.PATIENCE
    assert watch.log("watching") and watch.log("stopping")


def test_command_that_fails_is_tried_again(watch):
    watch.once()
    watch.sections["command"]["path"] = watch.script("failing", "exit 7")
    f.record(watch.store, (ONE, 1, True, ""))
    done = watch.once(check=False)
    assert done.returncode == 3 and "exit status 7" in done.stderr and "wait in the store for the next run" in done.stderr
    watch.sections["command"]["path"] = watch.command
    watch.once()
    assert watch.kinds() == [(ONE, "first-seen")]


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_command_that_hangs_is_ended_with_what_it_started(watch):
    watch.once()
    started = watch.folder / "started"
    watch.sections["command"] = {"path": watch.script("hanging", f"sleep 1000 & echo $! >'{started}'; wait"), "timeout": 1}
    f.record(watch.store, (ONE, 1, True, ""))
    done = watch.once(check=False)
    assert done.returncode == 3 and "not ready in time" in done.stderr
    f.until(lambda: not runs(int(started.read_text())))


def test_command_that_does_not_read(watch):
    watch.once()
    watch.sections["command"]["path"] = watch.script("deaf", "exit 0")
    f.record(watch.store, (ONE, 1, True, "x" * 1000))
    watch.once()


def test_webhook(watch, hook):
    key = watch.folder / "key"
    key.write_text("a key of the receiver\n")
    watch.sections["webhook"] = {"url": hook.url, "key_file": key}
    watch.once()
    f.record(watch.store, (ONE, 1, False, DETAIL))
    hook.answers = [500]
    assert watch.once(check=False).returncode == 3
    watch.once()
    bodies = [json.loads(body) for _, body in hook.requests]
    assert [b["event"] for b in bodies] == ["first-seen", "first-seen", "mismatch"]
    assert bodies[0] == bodies[1] and bodies[2]["detail"] == DETAIL
    for headers, body in hook.requests:
        assert headers["Content-Type"] == "application/json"
        wanted = hmac.new(b"a key of the receiver", body, hashlib.sha256).hexdigest()
        assert headers["X-Measured-Unlock-Signature"] == f"sha256={wanted}"
    assert watch.told() == bodies[1:]


def test_webhook_over_tls(tmp_path, authority):
    watch = f.Watch(tmp_path, f"sqlite:{tmp_path}/fleet")
    hook = f.Hook(authority.context)
    watch.sections["webhook"] = {"url": hook.url}
    watch.once()
    f.record(watch.store, (ONE, 1, True, ""))
    done = watch.once(check=False)  # by the system's authorities
    assert done.returncode == 3 and "does not verify" in done.stderr and hook.requests == []
    watch.sections["webhook"]["ca_file"] = authority.file
    watch.once()
    assert [json.loads(body)["event"] for _, body in hook.requests] == ["first-seen"]
    assert "X-Measured-Unlock-Signature" not in hook.requests[0][0]
    hook.stop()


def test_slow_sink_holds_up_nothing(watch, hook):
    port = w.two_free_ports()
    hook.hang.set()
    watch.sections["watch"]["metrics"] = f"127.0.0.1:{port}"
    watch.sections["webhook"] = {"url": hook.url, "timeout": 1}
    f.record(watch.store, (ONE, 5, True, ""))
    watch.start()
    f.until(lambda: watch.events.exists())
    f.record(watch.store, (ONE, 1, False, DETAIL))
    f.until(lambda: len(watch.events.read_text().splitlines()) == 2)
    values = f.until(lambda: (m := f.metrics(port)).get('delivery_failures_total{sink="webhook"}', 0) > 0 and
                     m['deliveries_total{sink="command"}'] == 2 and m)
    assert values['waiting{sink="webhook"}'] >= 1 and values['deliveries_total{sink="webhook"}'] == 0
    assert values['instances{state="mismatch"}'] == 1 and values['instances{state="ok"}'] == 0
    assert values['events_total{kind="mismatch"}'] == 1 and values['events_total{kind="first-seen"}'] == 1
    assert 0 < values["oldest_seconds"] < 60 and values["scans_total"] >= 1
    hook.hang.clear()
    f.until(lambda: f.metrics(port)['deliveries_total{sink="webhook"}'] == 2)
    assert watch.stop()[0] == 0


def test_event_is_given_up_after_some_time(watch):
    watch.once()
    watch.sections["command"] = {"path": watch.script("failing", "cat >/dev/null; exit 1"), "give_up": 1}
    port = w.two_free_ports()
    watch.sections["watch"]["metrics"] = f"127.0.0.1:{port}"
    f.record(watch.store, (ONE, 5, True, ""))
    watch.start()
    f.until(lambda: f.until(lambda: readable(port))['given_up_total{sink="command"}'] == 1)
    assert watch.stop()[0] == 0
    line, = watch.log("given-up")
    assert (line["sink"], line["kind"], line["instance_id"]) == ("command", "first-seen", ONE) and "exit status 1" in line["detail"]
    watch.sections["command"]["path"] = watch.command
    watch.once()
    assert watch.told() == []


def readable(port):
    try:
        return f.metrics(port)
    except OSError:
        return None


def test_database_that_goes_away(postgresql, tmp_path):
    """What happens meanwhile is told when it is back."""
    watch = f.Watch(tmp_path, postgresql.database())
    watch.once()
    f.record(watch.store, (ONE, 1, True, ""))
    watch.start()
    f.until(watch.events.exists)
    postgresql.halt()
    f.until(lambda: watch.log("store"))
    assert watch.process.poll() is None
    postgresql.start()
    f.record(watch.store, (ONE, 0, False, DETAIL))
    f.until(lambda: "mismatch" in watch.events.read_text())
    assert watch.stop()[0] == 0 and "store in PostgreSQL" in watch.log("store")[0]["detail"]
    assert [e["instance_id"] for e in watch.log("mismatch")] == [ONE]


def test_database_that_does_not_answer():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        done = w.mu_verifier("list", "--store", f"postgresql:host=127.0.0.1 port={silent.getsockname()[1]} user=u",
                       check=False)
    assert done.returncode == 3 and "timeout" in done.stderr and time.monotonic() - started < 10 * w.PATIENCE


def test_list_and_forget(watch):
    f.record(watch.store, (ONE, 500, True, ""), (TWO, 20, True, ""), (TWO, 10, False, DETAIL))
    table = w.mu_verifier("list", "--config", watch.write()).stdout.splitlines()
    assert table[0].split()[:2] == ["INSTANCE", "STATE"]
    assert [line.split()[:2] for line in table[1:]] == [[ONE, "missing"], [TWO, "mismatch"]]
    assert DETAIL in table[2] and "web 7" in table[1]
    one, two = watch.list()
    assert (one["instance_id"], one["state"], one["announced"]) == (ONE, "missing", "new")
    assert two["detail"] == two["last_mismatch_detail"] == DETAIL and two["last_good"] < two["last_seen"]
    assert (two["good_baseline"], two["good_baseline_version"]) == ("web", "7")
    alone = w.mu_verifier("list", "--json", "--store", watch.store, TWO)
    assert [i["instance_id"] for i in json.loads(alone.stdout)] == [TWO]
    w.mu_verifier("forget", "--config", watch.write(), ONE)
    assert [i["instance_id"] for i in watch.list()] == [TWO]
    for verb in "forget", "list":
        again = w.mu_verifier(verb, "--config", watch.write(), ONE, check=False)
        assert again.returncode == 4 and f"{ONE} is not known" in again.stderr


def list_of(watch, *options):
    done = w.mu_verifier("list", "--config", watch.write(), *options, check=False)
    return done.returncode, [line.split()[:2] for line in done.stdout.splitlines()[1:]]


def test_altered_and_silent(watch):
    """Quarantine, or whoever altered it, makes it silent. That fixes nothing: it is both, everywhere."""
    port = w.two_free_ports()
    watch.sections["watch"].update(metrics=f"127.0.0.1:{port}", silence=50, forget_days=1)
    f.record(watch.store, (ONE, 80, True, ""), (ONE, 70, False, DETAIL), (TWO, 70, True, ""))
    watch.once()
    assert watch.kinds() == [(ONE, "first-seen"), (ONE, "mismatch"), (ONE, "missing"), (TWO, "first-seen"), (TWO, "missing")]
    one, two = watch.list()
    assert (one["state"], one["missing"], one["announced"]) == ("mismatch", True, "mismatch")
    assert (two["state"], two["missing"], two["announced"]) == ("missing", True, "missing")
    assert list_of(watch) == (0, [[ONE, "mismatch,missing"], [TWO, "missing"]])
    watch.start()
    values = f.until(lambda: (m := readable(port)) and m["scans_total"] > 0 and m)
    assert values['instances{state="mismatch"}'] == 1 and values['instances{state="missing"}'] == 2
    assert values['instances{state="ok"}'] == values['instances{state="boot-overdue"}'] == 0
    watch.stop()
    f.record(watch.store, (ONE, 0, True, ""))
    watch.once()
    assert watch.kinds() == [(ONE, "recovered")]


def test_an_altered_one_is_not_forgotten(watch):
    """The twin is test_forgotten_after_days."""
    watch.sections["watch"]["forget_days"] = 2
    f.record(watch.store, (ONE, 3 * 86400, False, DETAIL), (TWO, 3 * 86400, True, ""))
    watch.once()
    assert [(i["instance_id"], i["state"]) for i in watch.list()] == [(ONE, "mismatch")]
    w.mu_verifier("forget", "--config", watch.write(), ONE)
    assert watch.list() == []


def test_one_that_stays_in_boot(watch):
    """Its fence is open: the key can be had once more. The default is ten minutes."""
    watch.once()
    for seconds in 900, 400, 301:
        f.record(watch.store, (ONE, seconds, True, ""), state="boot")
    f.record(watch.store, (TWO, 900, True, ""), (TWO, 250, True, ""))
    f.record(watch.store, (TWO, 200, True, ""), (TWO, 0, True, ""), state="boot")   # it boots again
    watch.sections["watch"]["silence"] = 400
    watch.once()
    assert [i["state"] for i in watch.list()] == ["ok", "ok"]
    f.record(watch.store, (ONE, 299, True, ""), state="boot")
    watch.told()
    watch.once()
    event, = watch.told()
    assert (event["instance_id"], event["event"], event["state"]) == (ONE, "boot-overdue", "boot")
    assert list_of(watch, "--state", "boot-overdue") == (2, [[ONE, "boot-overdue"]])
    watch.sections["watch"]["boot_limit"] = 150
    assert list_of(watch, "--state", "boot-overdue")[1] == [[ONE, "boot-overdue"], [TWO, "boot-overdue"]]
    del watch.sections["watch"]["boot_limit"]
    f.record(watch.store, (ONE, 0, True, ""))
    watch.once()
    assert watch.kinds() == [(ONE, "recovered")]


def test_list_by_state_is_a_check(watch):
    """For cron: exit code 2 if one of those asked for is not trusted."""
    f.record(watch.store, (ONE, 5, True, ""))
    every = ("--state", "mismatch,boot-overdue,missing")
    assert list_of(watch, *every) == (0, []) and list_of(watch, "--state", "ok") == (0, [[ONE, "ok"]])
    f.record(watch.store, (TWO, 500, False, DETAIL))
    for state in every[1], "missing", "mismatch":
        assert list_of(watch, "--state", state) == (2, [[TWO, "mismatch,missing"]]), state
    assert list_of(watch, "--state", "ok") == (0, [[ONE, "ok"]]) and list_of(watch)[0] == 0
    done = w.mu_verifier("list", "--state", "mismatch", "--json", "--store", watch.store, check=False)
    assert done.returncode == 2 and [i["instance_id"] for i in json.loads(done.stdout)] == [TWO]
    done = w.mu_verifier("list", "--state", "bad", "--store", watch.store, check=False)
    assert done.returncode == 1 and "the states are ok, mismatch" in done.stderr


# ---- who should be there ----

def rfc3339(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat()


def described(*instances, **more):
    """What `aws ec2 describe-instances` prints; instances: (id, state, seconds since its launch)."""
    return {"Reservations": [{"ReservationId": "r-1", "OwnerId": "111122223333", "Instances": [
        {"InstanceId": i, "State": {"Code": 16, "Name": state}, "Placement": {"AvailabilityZone": "eu-west-1a"},
         "LaunchTime": rfc3339(time.time() - age)}]} for i, state, age in instances], **more}


def expected(watch, content, *options):
    done = w.mu_verifier("list", "--config", watch.write(), "--expected", "-", *options, check=False,
                         input=content if isinstance(content, str) else json.dumps(content))
    return done.returncode, [line.split()[:2] for line in done.stdout.splitlines()[1:]], done.stderr


THREE, LONG_AGO = "i-0000000000000003", 86400
SHAPES = {"whole": lambda d: d, "pages": lambda d: [d, d],
          "instances": lambda d: [i for r in d["Reservations"] for i in r["Instances"]],
          "ids in arrays": lambda d: [[i["InstanceId"] for i in r["Instances"]] for r in d["Reservations"]]}


@pytest.mark.parametrize("shape", SHAPES)
def test_who_is_missing_from_the_account_or_from_the_store(watch, shape):
    f.record(watch.store, (ONE, 5, True, ""), (TWO, 5, True, ""))
    good, unexpected = [ONE, "ok"], [TWO, "ok,unexpected"]
    both = SHAPES[shape](described((ONE, "running", LONG_AGO), (TWO, "running", LONG_AGO)))
    assert expected(watch, both)[:2] == (0, [good, [TWO, "ok"]])
    others = SHAPES[shape](described((THREE, "running", LONG_AGO), (ONE, "running", LONG_AGO)))
    code, rows, said = expected(watch, others)
    assert (code, rows) == (2, [good, unexpected, [THREE, "never-seen"]]) and "2 of these are not trusted" in said
    assert expected(watch, others, "--state", "never-seen")[:2] == (2, [[THREE, "never-seen"]])
    assert expected(watch, others, "--state", "unexpected,mismatch")[:2] == (2, [unexpected])
    assert expected(watch, others, "--state", "mismatch")[:2] == (0, [])
    done = w.mu_verifier("list", "--json", "--config", watch.write(), "--expected", "-", input=json.dumps(others), check=False)
    assert [(i["instance_id"], i["state"], i["expected"]) for i in json.loads(done.stdout)] == [
        (ONE, "ok", True), (TWO, "ok", False), (THREE, "never-seen", True)]


def test_expected_knows_who_was_stopped_and_who_has_just_started(watch):
    f.record(watch.store, (ONE, 500, True, ""), (TWO, 500, False, DETAIL))
    account = described((ONE, "stopped", LONG_AGO), (TWO, "terminated", LONG_AGO), (THREE, "running", 30))
    assert expected(watch, account)[:2] == (2, [[ONE, "ok"], [TWO, "mismatch"]])
    account = described((ONE, "running", LONG_AGO), (TWO, "running", LONG_AGO), (THREE, "stopped", LONG_AGO))
    assert expected(watch, account)[:2] == (2, [[ONE, "missing"], [TWO, "mismatch,missing"]])
    assert expected(watch, {"Reservations": []}, "--state", "unexpected")[1] == [[ONE, "missing,unexpected"],
                                                                                [TWO, "mismatch,missing,unexpected"]]


@pytest.mark.parametrize("content, message", [
    ("", "not JSON"), ('{"Reservations": [', "not JSON"), ("{}", "an instance has an id"), ('{"Reservations": {}}', "neither instances"),
    ("[1]", "neither instances"), ('["web-1"]', "an instance has an id"), ('[{"InstanceId": 7}]', "an instance has an id"),
    ('{"Reservations": [], "NextToken": "x"}', "these are not all instances"), ('["i-' + "0" * 80 + '"]', "an instance has an id"),
])
def test_what_does_not_say_who_is_expected(watch, content, message):
    """A list that is cut is no list: whoever is not in it would be called unexpected."""
    f.record(watch.store, (ONE, 5, True, ""))
    code, rows, said = expected(watch, content)
    assert (code, rows) == (4, []) and message in said and "describe-instances" in said


def test_list_by_time_and_baseline(watch):
    f.record(watch.store, (ONE, 500, True, ""), (TWO, 5, True, ""))
    assert list_of(watch, "--since", "1m") == (0, [[TWO, "ok"]]) == list_of(watch, "--since", rfc3339(time.time() - 60))
    assert len(list_of(watch, "--since", "1h")[1]) == len(list_of(watch, "--image", "web:7")[1]) == len(list_of(watch, "--image", "web")[1]) == 2
    assert list_of(watch, "--image", "web:8") == list_of(watch, "--image", "we") == (0, [])
    for options, message in [(["--since", "yesterday"], "an age such as 90s"), (["--since", "5"], "an age"), (["--since", "-5m"], "an age"),
                             (["--state", "unexpected"], "--expected must say"), (["--expected", "-", ONE], "name none")]:
        done = w.mu_verifier("list", "--store", watch.store, *options, check=False)
        assert done.returncode == 1 and message in done.stderr


# ---- a store that is not there, or may only be read ----

@pytest.mark.parametrize("verb", [["list"], ["list", ONE], ["forget", ONE], ["watch", "--once"], ["watch"]], ids=" ".join)
def test_only_the_verifier_makes_a_store(tmp_path, verb):
    done = w.mu_verifier(*verb, "--store", f"sqlite:{tmp_path}/flet", check=False, timeout=20)
    assert done.returncode == 4 and "'mu-verifier serve' makes it when it starts" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_is_no_store(postgresql):
    store = postgresql.database()
    for verb in ["list"], ["forget", ONE], ["watch", "--once"]:
        done = w.mu_verifier(*verb, "--store", store, check=False)
        assert done.returncode == 4 and "this database: there is no store here" in done.stderr


def test_reading_needs_no_right_to_write(postgresql, tmp_path):
    store = postgresql.database()
    f.record(store, (ONE, 5, True, ""))
    postgresql.sql(store, "CREATE ROLE auditor LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO auditor")
    reader = store.replace("user=mu", "user=auditor")
    done = w.mu_verifier("list", "--json", "--store", reader)
    assert [i["instance_id"] for i in json.loads(done.stdout)] == [ONE]
    done = w.mu_verifier("forget", "--store", reader, ONE, check=False)
    assert done.returncode == 4 and "permission denied for table instance" in done.stderr
    done = w.mu_verifier("list", "--store", reader.replace(store.split("dbname=")[1], "postgres"), check=False)
    assert done.returncode == 4 and "there is no store here" in done.stderr


def test_listing_changes_nothing(tmp_path):
    path = tmp_path / "fleet"
    f.record(f"sqlite:{path}", (ONE, 5, True, ""))
    before = path.read_bytes()
    done = w.mu_verifier("list", "--json", "--store", f"sqlite:{path}")
    assert [i["instance_id"] for i in json.loads(done.stdout)] == [ONE] and path.read_bytes() == before


# ---- reloading ----

def test_reload(watch, hook):
    """A new limit, a sink more, another command; what the old command still does, it does."""
    watch.sections["watch"]["interval"] = 3600
    started, gate = watch.folder / "started", watch.folder / "gate"
    watch.sections["command"]["path"] = watch.script(
        "slow", f": >'{started}'; while [ ! -e '{gate}' ]; do sleep 0.05; done; cat >> '{watch.events}'; echo >> '{watch.events}'")
    f.record(watch.store, (ONE, 100, True, ""))
    watch.start()
    f.until(started.exists)
    watch.sections["watch"].update(silence=50, interval=1)
    watch.sections["command"]["path"] = watch.command
    watch.sections["webhook"] = {"url": hook.url}
    assert watch.reload()["detail"] == str(watch.folder / "watch.conf")
    gate.touch()
    f.until(lambda: hook.requests and watch.events.exists() and len(watch.events.read_text().splitlines()) == 2)
    assert watch.kinds() == [(ONE, "first-seen"), (ONE, "missing")]
    assert [json.loads(body)["event"] for _, body in hook.requests] == ["missing"]
    assert watch.stop()[0] == 0


def test_bad_reload_keeps_what_there_was(watch):
    port = w.two_free_ports()
    watch.sections["watch"]["metrics"] = f"127.0.0.1:{port}"
    watch.start()
    f.until(lambda: watch.log("watching"))
    watch.sections["watch"]["colour"] = "red"
    assert 'unknown key "colour"' in watch.reload("reload-failed")["detail"]
    assert f.metrics(port)["reload_failed"] == 1
    f.record(watch.store, (ONE, 1, True, ""))
    f.until(lambda: watch.events.exists() and watch.kinds() == [(ONE, "first-seen")])
    del watch.sections["watch"]["colour"]
    watch.reload()
    assert f.metrics(port)["reload_failed"] == 0
    assert watch.stop()[0] == 0


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(not PROMTOOL, reason="Debian's package prometheus is not installed")
def test_prometheus_finds_no_fault(watch):
    port = w.two_free_ports()
    watch.sections["watch"]["metrics"] = f"127.0.0.1:{port}"
    f.record(watch.store, (ONE, 5, True, ""))
    watch.start()
    f.until(lambda: (m := readable(port)) and m["scans_total"] > 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        done = w.run(PROMTOOL, "check", "metrics", input=answer.read(), check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_forgotten_after_days(watch):
    watch.once()
    watch.sections["watch"]["forget_days"] = 2
    f.record(watch.store, (ONE, 3 * 86400, True, ""), (TWO, 86400, True, ""))
    watch.once()
    assert sorted(set(e for _, e in watch.kinds())) == ["first-seen", "missing"]
    assert [i["instance_id"] for i in watch.list()] == [TWO]


@pytest.mark.parametrize("section, key, value, says", [
    ("watch", "store", "mysql:x", "sqlite:PATH or postgresql:CONNINFO"),
    ("watch", "silence", "0", "silence must be a number"),
    ("watch", "colour", "red", 'unknown key "colour"'),
    ("watch", "metrics", "0.0.0.0:9469", "not a loopback address"),
    ("watch", "metrics", "127.0.0.1", "not 127.0.0.1:PORT"),
    ("watch", "metrics", "127.0.0.1:99999", "not 127.0.0.1:PORT"),
    ("command", "path", "quarantine", "absolute path"),
    ("webhook", "url", "ftp://x", "must be a URL"),
    ("webhook", "key_file", "/nonexistent", "[webhook] has no url"),
])
def test_configuration_that_is_refused(tmp_path, section, key, value, says):
    watch = f.Watch(tmp_path, f"sqlite:{tmp_path}/fleet")
    watch.sections.setdefault(section, {})[key] = value
    done = w.mu_verifier("watch", "--config", watch.write(), check=False, timeout=20)
    assert done.returncode == 4 and says in done.stderr


def test_password_of_the_store_is_not_shown(tmp_path):
    done = w.mu_verifier("list", "--store", "postgresql:host=127.0.0.1 port=1 user=u password=hidden", check=False)
    assert done.returncode == 3 and "hidden" not in done.stdout + done.stderr
    done = w.mu_verifier("list", "--store", "postgres:password=hidden", check=False)
    assert done.returncode == 4 and "hidden" not in done.stdout + done.stderr


# ---- docs/examples/quarantine ----

AWS = '''#!/usr/bin/python3
"""Takes what the AWS CLI takes, by botocore's own model, and notes the request."""
import json, os, sys
from botocore import session, validate, xform_name
service, command, *words = sys.argv[1:]
model = session.get_session().get_service_model(service)
operation = next(n for n in model.operation_names if xform_name(n, "-") == command)
shape = model.operation_model(operation).input_shape
request = {}
while words:
    option, values = words.pop(0), []
    while words and not words[0].startswith("--"):
        values.append(words.pop(0))
    name = next(n for n in shape.members if "--" + xform_name(n, "-") == option)
    member = shape.members[name]
    if member.type_name == "list":
        parsed = [dict(p.split("=", 1) for p in v.split(",")) if member.member.type_name == "structure" else v for v in values]
    else:
        parsed, = values
    request[name] = parsed
report = validate.ParamValidator().validate(request, shape)
if report.has_errors():
    sys.exit(report.generate_report())
with open(os.environ["CALLS"], "a") as f:
    f.write(json.dumps([operation, request]) + "\\n")
'''


@pytest.fixture
def quarantine(tmp_path):
    (tmp_path / "aws").write_text(AWS)
    (tmp_path / "aws").chmod(0o755)
    calls = tmp_path / "calls"

    def run(event, group="sg-0123456789abcdef0", command=w.TOP / "docs/examples/quarantine"):
        calls.unlink(missing_ok=True)
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CALLS": str(calls), **({"QUARANTINE_GROUP": group} if group else {})}
        done = w.run(command, input=json.dumps(event), text=True, check=False, env=env)
        return done.returncode, [json.loads(x) for x in calls.read_text().splitlines()] if calls.exists() else []
    return run


def test_quarantine_changes_the_security_group(quarantine):
    instance = "i-0123456789abcdef0"
    assert quarantine({"event": "mismatch", "instance_id": instance}) == (0, [
        ["ModifyInstanceAttribute", {"InstanceId": instance, "Groups": ["sg-0123456789abcdef0"]}],
        ["CreateTags", {"Resources": [instance], "Tags": [{"Key": "measured-unlock", "Value": "quarantined"}]}]])


@pytest.mark.parametrize("event, code", [
    ({"event": "missing", "instance_id": "i-0123456789abcdef0"}, 0),
    ({"event": "recovered", "instance_id": "i-0123456789abcdef0"}, 0),
    ({"event": "mismatch", "instance_id": "i-0 --groups sg-1"}, 1),
    ({"event": "mismatch", "instance_id": "--all"}, 1),
    ({"event": "mismatch", "instance_id": 7}, 1),
    ({"event": "mismatch"}, 1),
    ({"instance_id": "i-0123456789abcdef0"}, 0)])
def test_quarantine_leaves_alone(quarantine, event, code):
    done, calls = quarantine(event)
    assert (min(done, 1), calls) == (code, [])


def test_quarantine_needs_a_group(quarantine):
    assert quarantine({"event": "mismatch", "instance_id": "i-0123456789abcdef0"}, group=None)[0] != 0


def test_quarantine_takes_what_the_watch_sends(tmp_path, quarantine):
    watch = f.Watch(tmp_path, f"sqlite:{tmp_path}/fleet")
    watch.once()
    f.record(watch.store, ("i-0123456789abcdef0", 5, False, DETAIL))
    watch.once()
    calls = [quarantine(event) for event in watch.told()]
    assert [(code, len(made)) for code, made in calls] == [(0, 0), (0, 2)]
