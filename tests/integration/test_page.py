# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of a fleet: who may look, what is shown, and how it is in a browser."""
import http.server
import json
import os
import re
import signal
import sqlite3
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing

import aws_programs as programs
import fleet as f
import looking
import pytest
import relying
import tls
import world as w
from looking import TOKEN, basic

GOOD, ALTERED, SILENT = "i-0000000000000000a", "i-0000000000000000b", "i-0000000000000000c"
IMAGE = "ab" * 32
DIFFERS = ("no baseline matches; closest is web (running): PCR 4: expected 0123456789abcdef..., found fedcba9876543210...; "
           "PCR 7: expected 0123456789abcdef..., found nothing")
HOSTILE = ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onclick='alert(1)", "\x1b[31mred\x07", "\u202egnp.exe",
           "</td></table><h1>good", "&lt;script&gt;", "\u2066\u2069", "javascript:alert(1)"]
PATHS = ["/", "/?hours=720", "/instances", "/instances?state=not-trusted", f"/instance?id={ALTERED}", "/images",
         f"/image?id={IMAGE}", "/instance?id=i-unknown"]


def approve(postgresql, store, *acts):
    """Acts as the database has them: (id, version, act, until_ms, author, why)"""
    now = int(time.time() * 1000)
    rows = [(n, image, "image", "web", version, "{}", act, now - 1000, until, author, why)
            for n, (image, version, act, until, author, why) in enumerate(acts, 1)]
    if store.startswith("sqlite:"):
        with closing(sqlite3.connect(store.partition(":")[2])) as db:
            db.executemany(f"INSERT INTO image_act VALUES ({','.join('?' * 11)})", rows)
            db.commit()
    else:
        quoted = (", ".join("'" + str(v).replace("'", "''") + "'" for v in row) for row in rows)
        postgresql.sql(store, "".join(f"INSERT INTO image_act VALUES ({row});" for row in quoted))


def watched(folder, store):
    """Three instances: good, altered, silent; and an image that the first runs."""
    watch = f.Watch(folder, store)
    f.record(store, (SILENT, 4000, True, ""), (ALTERED, 120, True, ""), (GOOD, 100, True, ""))
    watch.once()
    now = int(time.time() * 1000)
    w.run(f.DRIVER, store, text=True, input="\t".join([GOOD, str(now - 5000), "1", "web", "7", "running", "", "192.0.2.7", IMAGE]) + "\n")
    f.record(store, (ALTERED, 0, False, DIFFERS))
    watch.once()
    return watch


@pytest.fixture
def start(tmp_path):
    """-> the page of a verifier with the store and what [page] has"""
    running = []

    def begin(store, folder="party", headers=None, certificate=None, **page):
        guard = page or {"token_file": looking.token_file(tmp_path)}
        verifier = relying.Verifier(looking.party(tmp_path / folder, store, **guard))
        running.append(verifier)
        return looking.Page(verifier, headers, certificate)
    yield begin
    for verifier in running:
        verifier.stop()


@pytest.fixture
def page(start, store, tmp_path, request):
    server = request.getfixturevalue("postgresql") if store.startswith("postgresql") else None
    watched(tmp_path, store)
    approve(server, store, (IMAGE, "7", "approve", 0, "ada", "change 4711"), ("cd" * 32, "6", "approve", 0, "ada", "old"),
            ("cd" * 32, "6", "revoke", 0, "eve", "CVE-2026-4711"))
    return start(store)


@pytest.fixture
def small(start, tmp_path):
    """The same in SQLite alone."""
    store = f"sqlite:{tmp_path}/fleet"
    watched(tmp_path, store)
    approve(None, store, (IMAGE, "7", "approve", 0, "ada", "change 4711"))
    return start(store)


# ---- what is shown ----

def cells(text):
    """The rows of all tables, as the texts of their cells."""
    rows = re.findall(r"<tr>\n(<th scope=\"row\".*?)(?=<tr>|</tbody>)", text, re.S)
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in re.split(r"<t[hd] [^>]*>", row)[1:]] for row in rows]


def test_fleet_at_a_glance(page):
    text = page.get("/")
    tiles = dict(re.findall(r"<dt>([^<]*)</dt><dd>(?:<a[^>]*>)?(\d+)", text))
    assert tiles == {"Mismatch": "1", "Missing": "1", "Boot overdue": "0", "Good": "1"}
    trusted = text.partition("Not trusted now")[2].partition("Find an instance")[0]
    assert [row[:2] for row in cells(trusted)] == [[ALTERED, "mismatch"], [SILENT, "missing"]]
    assert text.count("<svg") == 4 and "Mismatch: 1 last, at most 1" in text
    figures = cells(text.partition("<summary>The figures")[2])
    assert [int(n) for n in figures[0][1:]] == [1, 1, 0, 1, 3]


def test_one_instance(page):
    text = page.get(f"/instance?id={ALTERED}")
    assert cells(text)[:2] == [["4", "0123456789abcdef...", "fedcba9876543210..."], ["7", "0123456789abcdef...", "nothing"]]
    what = [row[1] for row in cells(text.partition("<h2>History")[2])]
    assert what == ["announced: mismatch", "bad document", "announced: first-seen", "good document"]
    text = page.get(f"/instance?id={GOOD}")
    assert f'<dt>Image<dd><a href="/image?id={IMAGE}">{IMAGE[:12]}</a>' in text and "<dt>Sent from<dd>192.0.2.7" in text
    assert "What differs</h2>" not in text


def test_history_by_the_command(store, tmp_path):
    """The same as the page's; and what was forgotten has none."""
    watched(tmp_path, store)
    history = json.loads(w.mu_verifier("list", "--history", ALTERED, "--store", store, "--json").stdout)
    assert [(h["event"], h.get("ok")) for h in history] == [("mismatch", None), ("change", False), ("first-seen", None), ("change", True)]
    assert history[1]["detail"] == DIFFERS and history[1]["address"] == "192.0.2.1"
    assert "bad document" in w.mu_verifier("list", "--history", ALTERED, "--store", store).stdout
    for options in ((), (ALTERED, "--state", "ok"), (ALTERED, "--expected", "/dev/null")):
        assert w.mu_verifier("list", "--history", "--store", store, *options, check=False).returncode == 1
    w.mu_verifier("forget", ALTERED, "--store", store)
    assert w.mu_verifier("list", "--history", ALTERED, "--store", store, check=False).returncode == 4


def test_images_and_their_roll_out(page):
    rows = cells(page.get("/images"))
    assert [row[:4] + row[5:] for row in rows] == [
        [f"web 7 {IMAGE[:12]}", "image", "approved", "ada", "for good", "change 4711", "1"],
        ["web 6 " + "cd" * 6, "image", "revoked", "eve", "-", "CVE-2026-4711", "0"]]
    text = page.get("/image?id=" + "cd" * 32)
    assert [row[1:3] for row in cells(text)] == [["approve", "ada"], ["revoke", "eve"]] and "Unreadable:" in text
    assert [row[0] for row in cells(page.get(f"/instances?image={IMAGE}"))] == [GOOD]


def test_list_by_pages(start, store):
    """Every instance once, however many there are, by the links that the pages have."""
    f.record(store, *((f"i-{n:017x}", 9, n % 3 > 0, "PCR 4") for n in range(130)))
    page = start(store)
    for query, wanted in ("", range(130)), ("?state=mismatch", range(0, 130, 3)), ("?state=new", range(130)):
        path, seen, pages = f"/instances{query}", [], 0
        while path:
            text = page.get(path)
            seen += [row[0] for row in cells(text)]
            path = next((link.replace("&amp;", "&") for link in re.findall(r'rel="next" href="([^"]+)"', text)), None)
            pages += 1
        assert seen == [f"i-{n:017x}" for n in wanted] and pages == -(-len(seen) // 50)
    assert "No more instances" in page.get("/instances?after=i-zzz")


def test_what_was_not_counted_is_not_zero(start, store):
    """Without a watch there are no counts; and old ones say that they are old."""
    f.record(store, (GOOD, 1, True, ""))
    page = start(store)
    text = page.get("/")
    assert "No counts:" in text and "<dt>Good" not in text and "the watch wrote nothing" in text
    assert cells(text)[0][:2] == [GOOD, "new"]


def test_a_watch_that_stopped(small, tmp_path):
    assert "Old:" not in small.get("/")
    with closing(sqlite3.connect(tmp_path / "fleet")) as db:
        db.execute("UPDATE sample SET looked_ms = looked_ms - 600000, at_ms = at_ms - 600000")
        db.commit()
    text = small.get("/")
    assert "Old:" in text and "<dt>Good" in text


def test_retention(tmp_path, store):
    """history_days holds for changes and samples as it does for events."""
    watch = f.Watch(tmp_path, store, history_days=1)
    f.record(store, (GOOD, 200000, True, ""), (GOOD, 150000, False, "PCR 4"), (GOOD, 10, True, ""))
    watch.once()
    history = json.loads(w.mu_verifier("list", "--history", GOOD, "--store", store, "--json").stdout)
    assert [h["event"] for h in history if h["event"] == "change"] == ["change"] and history[-1]["ok"]


# ---- who may look ----

def test_who_may_look(small):
    for headers, status in ((None, 200), ({}, 401), (basic(TOKEN), 200), (basic("x" * 30), 401), (basic(""), 401),
                            ({"Authorization": "Bearer " + TOKEN[:-1]}, 401), ({"Authorization": f"Bearer {TOKEN}x"}, 401),
                            ({"Authorization": TOKEN}, 401), ({"Cookie": TOKEN}, 401)):
        for path in ("/", "/style.css", "/nothing", f"/instance?id={GOOD}"):
            answer = small.ask(path, headers=headers)
            assert (answer.status == 401) == (status == 401), (headers, path)
            assert ("WWW-Authenticate" in answer.headers) == (status == 401)
            assert status == 200 or GOOD not in answer.text
    log = small.verifier.log_path.read_text()
    assert TOKEN not in log and '"event":"page"' in log
    assert small.verifier.metric("requests_total", path="page", status="401") == 28


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_reading_alone(small, method):
    answer = small.ask("/", method, body=b"x" * 100 if method in ("POST", "PUT") else None)
    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD"
    assert small.ask("/", method, headers={}).status == 401


def test_head(small):
    answer = small.ask("/images", "HEAD")
    assert answer.status == 200 and answer.text == ""


def test_headers(small):
    for path in ("/", "/style.css", "/nothing"):
        headers = small.ask(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self';")
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"] and "script" not in headers["Content-Security-Policy"]
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"], headers["Cache-Control"]) == (
            "nosniff", "no-referrer", "no-store")


def test_too_many_requests(start, tmp_path):
    party = looking.party(tmp_path / "party", f"sqlite:{tmp_path}/fleet", token_file=looking.token_file(tmp_path))
    party.limits = {"requests_per_second": 1, "burst": 3}
    party.write()
    verifier = relying.Verifier(party)
    try:
        page = looking.Page(verifier, headers={})
        connection, answers = page.connection(), []
        while 429 not in answers and len(answers) < 200:  # on one connection, which is faster than one a second anywhere
            connection.request("GET", "/")
            answer = connection.getresponse()
            answers.append(answer.status)
            answer.read()
        connection.close()
        assert answers[:3] == [401] * 3 and answers[-1] == 429
        assert verifier.ask("/healthz")[0] == 200  # looks and documents have limits of their own
    finally:
        verifier.stop()


def client_certificate(folder, name, ca_name, ca_key, purpose="client"):
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from datetime import datetime, timedelta, timezone
    oid = {"client": x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH, "server": x509.oid.ExtendedKeyUsageOID.SERVER_AUTH}[purpose]
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    cert = tls.certificate(name, ca_name, ca_key, key.public_key(), now - timedelta(days=1), now + timedelta(days=9),
                           [(x509.ExtendedKeyUsage([oid]), False)])
    path = folder / f"{name}.pem"
    path.write_bytes(tls.pem(cert) + relying.private_pem(key))
    return path


def test_client_certificates(start, tmp_path):
    """Of the authority, and for clients; a server's of the same authority, another's, and none are refused."""
    key, cert = tls.authority("operators")
    (tmp_path / "ca.pem").write_bytes(tls.pem(cert))
    other, _ = tls.authority("operators")
    store = f"sqlite:{tmp_path}/fleet"
    page = start(store, client_ca=tmp_path / "ca.pem", headers={})
    for certificate, status in ((client_certificate(tmp_path, "ada", "operators", key), 200), (None, 403),
                                (client_certificate(tmp_path, "eve", "operators", other), 403),
                                (client_certificate(tmp_path, "web", "operators", key, "server"), 403)):
        assert looking.Page(page.verifier, {}, certificate).ask("/").status == status, certificate
    both = start(store, "both", client_ca=tmp_path / "ca.pem", token_file=looking.token_file(tmp_path))
    for certificate, headers, status in ((tmp_path / "ada.pem", None, 200), (tmp_path / "ada.pem", {}, 401), (None, None, 403)):
        assert looking.Page(both.verifier, headers, certificate).ask("/").status == status


@pytest.mark.parametrize("page, says", [
    ({"listen": "127.0.0.1:0"}, "everybody could look at it"),
    ({"token_file": "TOKEN"}, "[page] has no listen"),
    ({"listen": "127.0.0.1:0", "token_file": "SHORT"}, "16 to 512 printable"),
    ({"listen": "127.0.0.1:0", "token_file": "TWO"}, "one word"),
    ({"listen": "127.0.0.1:0", "token_file": "/nonexistent"}, "/nonexistent"),
    ({"listen": "127.0.0.1:0", "client_ca": "/nonexistent"}, "/nonexistent"),
    ({"listen": "127.0.0.1:0", "token_file": "TOKEN", "color": "red"}, "color"),
])
def test_configurations_that_are_none(tmp_path, page, says):
    files = {"TOKEN": looking.token_file(tmp_path), "SHORT": looking.token_file(tmp_path / "s", "short\n"),
             "TWO": looking.token_file(tmp_path / "t", "a token of several words\n")}
    party = looking.party(tmp_path / "party", f"sqlite:{tmp_path}/fleet")
    party.page = {k: files.get(v, v) for k, v in page.items()}
    party.write()
    done = party.check()
    assert done.returncode == 4 and says in done.stderr
    party.page = {"listen": "127.0.0.1:0", "token_file": files["TOKEN"]}
    party.settings.pop("store")
    party.write()
    assert "add store" in party.check().stderr


def test_an_authority_that_is_none(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate\n")
    party = looking.party(tmp_path / "party", f"sqlite:{tmp_path}/fleet", client_ca=tmp_path / "ca.pem")
    done = party.check()
    assert done.returncode == 4 and "ca.pem" in done.stderr


def test_another_token_by_reload(small, tmp_path):
    assert small.ask("/").status == 200
    looking.token_file(tmp_path, "another-token-that-nobody-guesses\n")
    small.verifier.reload()
    assert small.ask("/").status == 401
    assert small.ask("/", headers=basic("another-token-that-nobody-guesses")).status == 200
    looking.token_file(tmp_path, "short\n")
    small.verifier.reload("reload-failed")
    assert small.ask("/", headers=basic("another-token-that-nobody-guesses")).status == 200


def test_init_makes_a_page(tmp_path):
    party = looking.party(tmp_path / "party", f"sqlite:{tmp_path}/x", token_file=looking.token_file(tmp_path))
    done = w.mu_verifier("init", tmp_path / "made", "--issuer", "https://verifier.test", "--listen", "127.0.0.1:0", "--certificate",
                         party.folder / "server.pem", "--certificate-key", party.folder / "server.pem", "--baseline",
                         f"web={party.folder}/web.json", "--store", f"sqlite:{tmp_path}/fleet", "--page", "127.0.0.1:0")
    token = tmp_path / "made/page.token"
    assert f"the password in {token}" in done.stdout
    assert token.stat().st_mode & 0o777 == 0o600 and len(token.read_text()) == 43
    party.config = tmp_path / "made/verifier.conf"
    verifier = relying.Verifier(party)
    try:
        page = looking.Page(verifier, basic(token.read_text()))
        assert page.ask("/").status == 200 and page.ask("/", headers={}).status == 401
    finally:
        verifier.stop()


# ---- hostile texts, bad queries, no store ----

def test_hostile_texts(start, store, request):
    """As ids, details, addresses, names and reasons: they are shown, and are nothing but text."""
    server = request.getfixturevalue("postgresql") if store.startswith("postgresql") else None
    now = int(time.time() * 1000)
    f.record(store)
    hostile = [h.replace("\n", " ") for h in HOSTILE]
    rows = ["\t".join([f"i-{n}{h}", str(now - 1000), "0", h, h, "running", h, h]) for n, h in enumerate(hostile)]
    w.run(f.DRIVER, store, text=True, input="".join(row + "\n" for row in rows))
    approve(server, store, *((f"{n}{h}", h, "approve", 0, h, h) for n, h in enumerate(hostile)))
    page = start(store)
    seen = 0
    for path in ("/", "/instances", "/images"):
        text = page.get(path)
        for link in re.findall(r'href="(/(?:instance|image)\?[^"]*)"', text):
            seen += 1
            # Ids of that kind do not exist outside this test: they need not be found, only be harmless.
            inner = page.ask(link.replace("&amp;", "&"))
            assert inner.status in (200, 400)
            text += inner.text
        assert text.isprintable() or set(c for c in text if not c.isprintable()) == {"\n"}
        tags = set(re.findall(r"<(/?[a-zA-Z]+)", text))
        assert tags.isdisjoint({"script", "img", "iframe", "object", "style", "/script"}) and not re.search(r"<[^>]*\son\w+=", text)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "\\u202egnp.exe" in text and "\\x1b[31mred\\x07" in text
    assert seen > 2 * len(hostile)


@pytest.mark.parametrize("query", [
    "/?hours=1", "/?hours=24&hours=24", "/?x", "/?hours", "/?hours=%00", "/?hours=24%00", "/instances?state=ok", "/instances?state=%27",
    "/instances?after=%1b", "/instances?after=%ff", "/instances?after=" + "a" * 200, "/instances?" + "&".join(f"a{n}=1" for n in range(50)),
    "/instance", "/instance?id=", "/instance?ID=x", "/image", "/images?x=1", "/instances?state=missing&state=",
    "/instances?image='%20OR%201=1--%e2%80%ae"])
def test_bad_queries(small, query):
    answer = small.ask(query)
    assert answer.status == 400 and "<h1>This address cannot be answered</h1>" in answer.text
    assert small.ask("/").status == 200


def test_sql_is_none(small):
    """What a query has is a value, and nothing but that."""
    for text in ("';DROP TABLE instance;--", "' OR '1'='1", "%", "_"):
        quoted = "".join(f"%{ord(c):02x}" for c in text)
        assert small.ask(f"/instance?id={quoted}").status == 404
        assert cells(small.get(f"/instances?image={quoted}")) == []
    assert len(cells(small.get("/instances"))) == 3


@pytest.mark.parametrize("path", ["/nothing", "/instances/", "/../etc/passwd", "//", "/instance?id=i-unknown", "/image?id=00"])
def test_what_there_is_not(small, path):
    assert small.ask(path).status == 404


def test_store_that_is_away(start, postgresql, tmp_path):
    """503 with a sentence, and never a fleet without instances; it comes back by itself."""
    store = postgresql.database()
    watched(tmp_path, store)
    page = start(store)
    assert GOOD in page.get("/instances")
    postgresql.halt()
    try:
        for path in ("/", "/instances", f"/instance?id={GOOD}", "/images", f"/image?id={IMAGE}"):
            text = page.get(path, 503)
            assert "The store cannot be read now" in text and "<table" not in text and "<dl" not in text
            assert "fleet" not in re.sub(r"<[^>]*>", "", text.partition("<main")[2]).lower().replace("how the fleet is", "")
    finally:
        postgresql.start()
    f.until(lambda: page.ask("/instances").status == 200)
    assert GOOD in page.get("/instances")


def test_store_that_is_broken(small, tmp_path):
    with closing(sqlite3.connect(tmp_path / "fleet")) as db:
        db.execute("DROP TABLE instance")
        db.commit()
    assert "The store cannot be read now" in small.get("/instances", 503)


# ---- the guide ----

GUIDE = (w.TOP / "docs/guide/fleet.md").read_text()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What `make demo-fleet` runs, in a folder where the guide says; and what it printed, when it was ended."""
    folder = tmp_path_factory.mktemp("demo")
    with open(folder / "said", "w+") as said:
        process = subprocess.Popen([w.TOP / "tests/demo-fleet", "--port", "0", "--dir", folder / "build/demo-fleet"], stdout=said,
                                   env={**os.environ, "MU_BUILD": str(w.BUILD)}, text=True)
        try:
            f.until(lambda: process.poll() is not None or "three instances send" in (folder / "said").read_text(), 120)
            assert process.poll() is None
            yield folder, process
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60 * w.PATIENCE) == 0


def test_guide_of_the_fleet(demo):
    """A newcomer's commands, once the page has what the guide promises; the last one's effect; and nothing is left."""
    folder, process = demo
    said = (folder / "said").read_text()
    url, password = re.search(r"page +(https\S+)/ ", said)[1], re.search(r"password +(\S+)", said)[1]
    context = ssl.create_default_context(cafile=str(folder / "build/demo-fleet/ca.pem"))

    def look(path):
        request = urllib.request.Request(url + path, headers=basic(password))
        with urllib.request.urlopen(request, timeout=20 * w.PATIENCE, context=context) as answer:
            return answer.read().decode()

    def states():
        try:
            return {row[0][3]: row[1] for row in cells(look("/instances"))}
        except urllib.error.HTTPError as e:
            assert e.code == 429
            time.sleep(1)  # it was asked too often
    f.until(lambda: states() == {"a": "ok", "b": "mismatch", "c": "missing"}, 120)
    image = look(re.search(r'href="(/image\?id=[^"]*)"', look("/instance?id=i-0aaaaaaaaaaaaaaaa"))[1])
    assert {row[0]: len(row[1]) for row in cells(image)[:7]} == dict.fromkeys(("2", "3", "4", "7", "12", "13", "14"), 96)
    assert "<dt>Built by<dd>demo-fleet" in image and "Unreadable" not in image
    commands = "".join(re.findall(r"^```sh\n(.*?)^```", GUIDE, re.M | re.S))
    assert commands.count("\n") >= 8
    done = w.run("bash", "-eux", "-o", "pipefail", "-c", commands, cwd=folder, text=True, check=False,
                 env={k: v for k, v in os.environ.items() if k not in ("SUDO_USER", "LOGNAME", "USER")})
    assert done.returncode == 0, done.stderr
    assert "somebody has to look" in done.stdout and "bad document" in done.stdout and "revoke   web 2026-11.4" in done.stdout
    assert "PCRs that differ" in (folder / "altered.html").read_text() and "i-0bbbbbbbbbbbbbbbb" in (folder / "mismatch.html").read_text()
    f.until(lambda: states() == {"a": "mismatch", "b": "mismatch", "c": "missing"}, 120)
    again = w.run(w.TOP / "tests/demo-fleet", "--dir", folder / "build/demo-fleet", check=False, text=True)
    assert again.returncode == 1 and "it runs already" in again.stderr
    process.send_signal(signal.SIGINT)
    assert process.wait(60 * w.PATIENCE) == 0
    assert list((folder / "build").iterdir()) == []


def test_configuration_of_the_guide(tmp_path):
    """Its keys are keys: what is wrong is the file that is not there."""
    section = re.search(r"^    \[page\]\n(?:    .*\n)+", GUIDE, re.M)[0]
    party = looking.party(tmp_path / "party", f"sqlite:{tmp_path}/fleet")
    party.page = dict(re.findall(r"^    (\w+) = (.*)$", section, re.M))
    party.write()
    assert "page.token" in party.check().stderr
    party.page["token_file"] = looking.token_file(tmp_path)
    party.write()
    assert party.check().returncode == 0


# ---- others' opinions ----

def test_html_is_valid(small):
    html5lib = pytest.importorskip("html5lib")
    for path in PATHS:
        html5lib.HTMLParser(strict=True).parse(small.ask(path).text)
    with pytest.raises(html5lib.html5parser.ParseError):  # so that it means something
        html5lib.HTMLParser(strict=True).parse(small.ask("/").text.replace("</table>", "</tabel>", 1))


@pytest.fixture(scope="module")
def chromium():
    driver = looking.browser()
    yield driver
    looking.leave(driver)


@pytest.fixture
def opened(chromium, small):
    """The browser at the page, which it has given the token."""
    from selenium.webdriver.support.ui import WebDriverWait
    chromium.get(f"https://ada:{TOKEN}@127.0.0.1:{small.port}/")
    chromium.wait = lambda condition: WebDriverWait(chromium, 20 * w.PATIENCE).until(condition)
    chromium.at = lambda path: chromium.get(f"https://127.0.0.1:{small.port}{path}")
    chromium.heading = lambda: chromium.find_element("tag name", "h1").text
    chromium.get_log("browser")
    return chromium


def follow(driver, text, heading):
    driver.find_element("link text", text).click()
    driver.wait(lambda d: d.heading() == heading)


def test_clicked_through(opened):
    """From the altered one on the first page to what differs, and by the image to those that run it."""
    assert opened.heading() == "Fleet"
    follow(opened, ALTERED, f"Instance {ALTERED}")
    assert "fedcba9876543210..." in opened.page_source
    follow(opened, "Images", "Images")
    follow(opened, IMAGE[:12], "Image")
    follow(opened, "Instances that run it", "Instances")
    follow(opened, GOOD, f"Instance {GOOD}")
    follow(opened, "Fleet", "Fleet")
    follow(opened, "a week", "Fleet")
    assert opened.find_element("link text", "a week").get_attribute("aria-current") == "true"
    opened.find_element("id", "id").send_keys(SILENT)
    opened.find_element("xpath", "//button[.='Show']").click()
    opened.wait(lambda d: d.heading() == f"Instance {SILENT}")
    follow(opened, "Instances", "Instances")
    opened.find_element("xpath", "//option[.='missing']").click()
    opened.find_element("xpath", "//button[.='Filter']").click()
    opened.wait(lambda d: "state=missing" in d.current_url)
    assert [e.text for e in opened.find_elements("css selector", "tbody th")] == [SILENT]
    assert [line for line in opened.get_log("browser") if "favicon" not in line["message"]] == []


def test_by_keyboard_alone(opened):
    """Every link and field is reached by Tab, in order, is seen to have the focus, and Enter follows it."""
    from selenium.webdriver import ActionChains, Keys

    def press(key):
        ActionChains(opened).send_keys(key).perform()
        return opened.switch_to.active_element

    press(Keys.TAB)
    element = opened.switch_to.active_element
    assert element.text == "Skip to the content" and element.rect["x"] >= 0
    press(Keys.ENTER)
    opened.wait(lambda d: d.current_url.endswith("#main"))
    reached = []
    for _ in range(60):
        element = press(Keys.TAB)
        if element.tag_name == "body" or element.text == "Skip to the content":
            break
        style = opened.execute_script("const s = getComputedStyle(arguments[0]); return [s.outlineStyle, s.outlineWidth]", element)
        assert style == ["solid", "3px"], element.text
        reached.append(element.text or element.get_attribute("name"))
    wanted = opened.execute_script("return [...document.querySelectorAll('main a, main input, main button, main summary')]"
                                   ".map(e => e.innerText || e.name)")
    assert reached == wanted and {ALTERED, SILENT, "id", "Show", "The figures", "Refresh"} <= set(reached)
    opened.at("/")
    while press(Keys.TAB).text != ALTERED:
        assert opened.switch_to.active_element.text != "Refresh"
    press(Keys.ENTER)
    opened.wait(lambda d: d.heading() == f"Instance {ALTERED}")


SCRIPT = "<script>document.title = 'stolen'</script><img src=x onerror=\"document.title = 'stolen'\">"


@pytest.mark.parametrize("guarded", [False, True])
def test_a_script_runs_where_nothing_is_escaped(chromium, small, guarded):
    """The premise, by another server: what an instance sends is a program to a browser; the page's policy alone stops it."""
    policy = small.ask("/").headers["Content-Security-Policy"]

    class Careless(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            if guarded:
                self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(f"<title>Instance</title><p>{SCRIPT}".encode())

        def log_message(self, *_):
            pass
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Careless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            chromium.get(f"http://127.0.0.1:{server.server_port}/")
            assert chromium.title == ("Instance" if guarded else "stolen")
        finally:
            server.shutdown()


def test_no_script_in_a_browser(opened, tmp_path):
    f.record(f"sqlite:{tmp_path}/fleet", (ALTERED, 0, False, SCRIPT))
    for path in ("/", "/instances", f"/instance?id={ALTERED}"):
        opened.at(path)
        assert opened.title.endswith(" - measured-unlock")
        assert "<script>document.title" in opened.find_element("tag name", "main").text
        assert opened.find_elements("css selector", "script, img") == []


@pytest.fixture(scope="module")
def phone():
    driver = looking.browser(width=360, height=740, dark=True)
    yield driver
    looking.leave(driver)


def test_on_a_phone_in_the_dark(phone, small, start, tmp_path):
    """Nothing is wider than the screen, whatever an instance sends; and dark is dark."""
    long = "x" * 900
    f.record(f"sqlite:{tmp_path}/fleet", (ALTERED, 0, False, long))
    phone.get(f"https://ada:{TOKEN}@127.0.0.1:{small.port}/")
    assert phone.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    for path in PATHS:
        phone.get(f"https://127.0.0.1:{small.port}{path}")
        wide, screen, background = phone.execute_script(
            "const e = document.documentElement; return [e.scrollWidth, e.clientWidth, getComputedStyle(document.body).backgroundColor]")
        assert wide <= screen == 360, path
        assert sum(int(n) for n in re.findall(r"\d+", background)[:3]) < 120, path


def test_accessible(opened, tmp_path, phone, small):
    """What axe-core says against it, in light and wide, and in dark and narrow."""
    programs.npm_install(w.TOP / "tests/axe", tmp_path)
    axe = (tmp_path / "node_modules/axe-core/axe.min.js").read_text()
    phone.get(f"https://ada:{TOKEN}@127.0.0.1:{small.port}/")
    for driver in (opened, phone):
        driver.set_script_timeout(60 * w.PATIENCE)
        for path in PATHS:
            driver.get(f"https://127.0.0.1:{small.port}{path}")
            run = axe + ";const done = arguments[arguments.length - 1]; axe.run().then(r => done(r), e => done({error: String(e)}))"
            result = driver.execute_async_script(run)
            assert "error" not in result, result
            assert len(result["passes"]) > 15
            assert [(v["id"], [n["html"] for n in v["nodes"]][:2]) for v in result["violations"]] == [], path
    opened.execute_script("document.querySelector('h1').style.color = '#ddd'")
    found = {v["id"] for v in opened.execute_async_script(run)["violations"]}
    assert "color-contrast" in found  # so that it means something when nothing is found
