# SPDX-License-Identifier: GPL-2.0-or-later
"""Room for a large fleet: several verifiers on one PostgreSQL, a look at news alone, a list that streams."""
import json
import os
import subprocess
import threading
import urllib.error

import fleet as f
import pytest
import relying
import world as w

PCRS = [bytes([n]) * 48 for n in range(24)]
PCRS[12] = bytes(48)
PROCESSES, CLIENTS, EACH = 4, 8, 12


def psql(store, question):
    return w.run(f.SERVERS[-1] / "psql", "-At", store.partition(":")[2], "-c", question, text=True).stdout.strip()


def end_connections(store):
    """As a server does that fails over. How many there were."""
    return int(psql(store, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                           "AND datname = current_database() AND backend_type = 'client backend'"))


@pytest.fixture
def place(postgresql, tmp_path):
    """A store in PostgreSQL, and a function that starts a verifier on it."""
    store, fleet, started = postgresql.database(), relying.Fleet(tmp_path / "ca"), []
    web = (relying.baseline(tmp_path / "web.json", PCRS, 4, 7, 12), "running")

    def start(**limits):
        party = relying.Party(tmp_path / f"party{len(started)}", fleet.root_pem, {"web": web})
        if started:  # one fleet of verifiers: a challenge of one is answered to another
            party.challenge_keys = started[0].party.challenge_keys
        party.limits = limits
        party.write(store=store)
        started.append(relying.Verifier(party))
        return started[-1]
    yield store, fleet, start
    for verifier in started:
        if verifier.process.poll() is None:
            verifier.process.kill()
        verifier.process.wait()


def attest(verifier, fleet, number):
    return verifier.attest(fleet.draft(verifier.nonce(), PCRS, instance=f"i-{number:017x}").encode())


def known(store):
    return {row["instance_id"]: row for row in json.loads(w.mu_verifier("list", "--json", "--store", store).stdout)}


def test_nothing_is_lost_when_one_of_four_is_killed(place):
    """What was answered with 200 is in the store; the others go on."""
    store, fleet, start = place
    verifiers = [start(threads=2) for _ in range(PROCESSES)]
    answered, failed, lock, enough = {}, [], threading.Lock(), threading.Event()
    for number in range(CLIENTS * EACH):  # certificates are made one after the other
        fleet.draft(bytes(32), PCRS, instance=f"i-{number:017x}").encode()

    def client(first):
        for number in range(first, CLIENTS * EACH, CLIENTS):
            verifier = verifiers[number % PROCESSES]
            try:
                status = attest(verifier, fleet, number)[0]
            except (OSError, urllib.error.URLError) as e:
                status = type(e).__name__
            with lock:
                if status == 200:
                    answered[f"i-{number:017x}"] = verifier
                else:
                    failed.append((verifier, status))
                if len(answered) >= CLIENTS * EACH // 4:
                    enough.set()
    clients = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in clients:
        thread.start()
    assert enough.wait(60 * w.PATIENCE)
    verifiers[0].process.kill()
    for thread in clients:
        thread.join()
    assert {verifier for verifier, _ in failed} <= {verifiers[0]}, failed
    assert len(answered) >= CLIENTS * EACH * (PROCESSES - 1) // PROCESSES
    rows = known(store)
    assert answered.keys() <= rows.keys()
    assert all(rows[instance]["state"] == "ok" for instance in answered)


def test_a_lost_connection_costs_no_document(place):
    """The premise: there was one, and it is gone."""
    store, fleet, start = place
    verifier = start(threads=4)
    assert attest(verifier, fleet, 1)[0] == 200
    assert end_connections(store) >= 1
    for number in range(2, 5):
        assert attest(verifier, fleet, number)[0] == 200
    assert known(store).keys() == {f"i-{n:017x}" for n in range(1, 5)}
    assert [line for line in verifier.log() if line["event"] == "store"] == []


class Session:
    """A psql that stays, as a slow program would."""

    def __init__(self, store):
        self.process = subprocess.Popen([f.SERVERS[-1] / "psql", "-Atq", store.partition(":")[2]], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def run(self, statements):
        self.process.stdin.write(f"{statements}; SELECT 'done';\n")
        self.process.stdin.flush()
        while self.process.stdout.readline() not in ("done\n", ""):
            pass

    def end(self):
        self.process.stdin.close()
        assert self.process.wait() == 0
        self.process.stdout.close()


def test_one_that_waits_holds_up_no_other(place):
    """With one connection behind a lock the second one would wait for the first."""
    store, fleet, start = place
    verifier = start(threads=4)
    assert attest(verifier, fleet, 1)[0] == 200
    session, answers = Session(store), []
    session.run("BEGIN; SELECT 1 FROM instance FOR UPDATE")
    waiting = threading.Thread(target=lambda: answers.append(attest(verifier, fleet, 1)[0]))
    waiting.start()
    f.until(lambda: psql(store, "SELECT count(*) FROM pg_locks WHERE NOT granted") == "1")
    assert attest(verifier, fleet, 2)[0] == 200
    assert waiting.is_alive() and answers == []
    session.run("COMMIT")
    waiting.join()
    session.end()
    assert answers == [200] and known(store).keys() == {f"i-{n:017x}" for n in (1, 2)}


def test_what_is_committed_late_is_told(postgresql, tmp_path):
    """It was written before the look, and seen by nobody then."""
    watch = f.Watch(tmp_path, postgresql.database())
    f.record(watch.store, ("i-00000000000000001", 9, True, ""))
    watch.once()
    watch.told()
    session = Session(watch.store)
    session.run("BEGIN; UPDATE instance SET ok = 0, last_seen = last_seen + 1, mismatch_at = last_seen + 1, mismatch = 'PCR 4'")
    watch.once()
    assert watch.told() == []
    session.run("COMMIT")
    session.end()
    watch.once()
    assert watch.kinds() == [("i-00000000000000001", "mismatch")]


def fill(store, count, **more):
    f.record(store, *((f"i-{n:017x}", 1, True, "") for n in range(count)), **more)


def test_a_look_reads_the_table_once_to_count_it(postgresql, tmp_path):
    """By PostgreSQL's own counters; the premise is that a list reads more, which these would show."""
    watch = f.Watch(tmp_path, postgresql.database(), silence=86400)
    fill(watch.store, 5000)
    command = watch.sections.pop("command")  # not 5,000 times
    watch.once()
    watch.sections["command"] = command
    watch.once()
    psql(watch.store, "VACUUM ANALYZE instance")

    def counters():
        """A connection's last ones are there before it has gone."""
        f.until(lambda: psql(watch.store, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()") == "1")
        return [int(n) for n in psql(watch.store, "SELECT seq_tup_read || ' ' || idx_tup_fetch || ' ' || idx_scan FROM "
                                                  "pg_stat_user_tables WHERE relname = 'instance'").split()]
    before = counters()
    watch.once()
    after = counters()
    assert (after[0] - before[0], after[1] - before[1]) == (5000, 0)
    watch.list()
    assert sum(counters()[:2]) >= sum(after[:2]) + 5000
    f.record(watch.store, ("i-00000000000000007", 0, False, "PCR 4"))
    watch.once()
    assert watch.kinds() == [("i-00000000000000007", "mismatch")]


@pytest.fixture(scope="module")
def meter(tmp_path_factory):
    """Memory is not measured by Python, which is larger than what it starts (tests/bench/meter.c)."""
    folder = tmp_path_factory.mktemp("meter")
    w.run("gcc", "-O2", "-o", folder / "meter", w.TOP / "tests/bench/meter.c")

    def peak_kb(*arguments):
        w.run(folder / "meter", folder / "json", w.MU_VERIFIER, *arguments)
        said = json.loads((folder / "json").read_text())
        assert said["status"] == 0
        return said["rss_kib"]
    return peak_kb


def test_memory_does_not_grow_with_the_fleet(store, meter):
    """12,000 rows are 4 to 5 MiB as the server sends them."""
    fill(store, 2000)
    few = meter("list", "--json", "--store", store)
    fill(store, 12000)
    assert meter("list", "--json", "--store", store) < few + 2048


def test_a_list_that_was_cut_is_none(postgresql):
    """Rows are printed as they are read; whoever reads them sees that there is no end."""
    store = postgresql.database()
    fill(store, 20000)
    process = subprocess.Popen([w.MU_VERIFIER, "list", "--json", "--store", store], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    head = os.read(process.stdout.fileno(), 10).decode()  # it waits for the pipe now, with pages to come
    postgresql.halt()
    try:
        text, said = process.communicate(timeout=60 * w.PATIENCE)
    finally:
        postgresql.start()
    assert process.returncode == 3 and "PostgreSQL" in said, said
    assert head.startswith("[\n") and not text.rstrip().endswith("]")
    with pytest.raises(ValueError):
        json.loads(head + text)


def test_a_list_outlives_a_lost_connection(postgresql):
    store = postgresql.database()
    fill(store, 20000)
    process = subprocess.Popen([w.MU_VERIFIER, "list", "--json", "--store", store], stdout=subprocess.PIPE, text=True)
    head = os.read(process.stdout.fileno(), 10).decode()
    assert end_connections(store) == 1
    text = process.communicate(timeout=60 * w.PATIENCE)[0]
    assert process.returncode == 0
    assert [row["instance_id"] for row in json.loads(head + text)] == [f"i-{n:017x}" for n in range(20000)]


def test_a_full_disk_is_no_list(store):
    fill(store, 10)
    with open("/dev/full", "wb") as full:
        done = subprocess.run([w.MU_VERIFIER, "list", "--json", "--store", store], stdout=full, stderr=subprocess.PIPE,
                              text=True, check=False)
    assert done.returncode != 0 and done.stderr


def test_p384_is_in_the_static_verifier_alone():
    if not (w.BUILD / "mu-verifier.map").exists():
        pytest.skip("not the static programs")
    verifier, *others = ((w.BUILD / f"{name}.map").read_text() for name in ("mu-verifier", "measured-unlock", "muctl"))
    linked = "ecp_nistp384.o", "p384_montjdouble_alt", "p384_mul_openssl"
    assert [name for name in linked if name not in verifier] == []
    assert "libcrypto.a(libcrypto-lib-ecp_nistp384.o)" not in verifier
    for other in others:
        assert "p384_montj" not in other and "libcrypto.a(libcrypto-lib-ecp_nistp384.o)" in other
