#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/soak: that it finds what it looks for, and (long) that there is nothing to find in a few minutes of it."""
import json
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import SimpleNamespace

import pytest

import world as w

PROGRAM = w.TOP / "tests/soak"


@pytest.fixture(scope="module")
def soak():
    loader = SourceFileLoader("soak", str(PROGRAM))
    module = module_from_spec(spec_from_loader("soak", loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def run(soak):
    """A made-up one of 100 seconds: instance 1 is good, instance 2 was altered, the database was away from 50 to 60."""
    made = object.__new__(soak.Soak)
    made.seed, made.instances, made.minutes = 0, 2, 100 / 60
    made.start, made.end = SimpleNamespace(value=1000.0), SimpleNamespace(value=1100.0)
    made.answers = [soak.Answer(1, False, 1010, 1011, 200, ""), soak.Answer(2, True, 1020, 1021, 403, "refused")]
    made.failed = [(1050, 1060, "database_stops")]
    made.memory = {"verifier": [(1030, 10000), (1080, 11000)]}
    events = [{"event": "mismatch", "instance_id": soak.instance(2)}]
    rows = [{"instance_id": soak.instance(1), "state": "ok"}, {"instance_id": soak.instance(2), "state": "mismatch"}]
    made.world = SimpleNamespace(watch=SimpleNamespace(told=lambda: events, list=lambda: rows))
    made.events, made.rows, made.strangers = events, rows, SimpleNamespace(accepted=[], count={})
    return made


def bad(run):
    return {name: count for name, (count, _) in run.judge(run.strangers)["bad"].items() if count}


def test_nothing_is_found(soak, run):
    """What happens while something fails is no finding, unless something was accepted."""
    run.answers += [soak.Answer(1, False, 1055, 1056, "ConnectionRefusedError", ""), soak.Answer(2, True, 1064, 1065, 503, "")]
    assert bad(run) == {}


@pytest.mark.parametrize("found, change", [
    ("altered instances accepted", lambda s, r: r.answers.append(s.Answer(2, True, 1055, 1056, 200, ""))),
    ("strangers accepted", lambda s, r: r.strangers.accepted.append("another_root")),
    ("good ones not accepted while nothing failed", lambda s, r: r.answers.append(s.Answer(1, False, 1012, 1013, "timeout", ""))),
    ("altered ones not refused while nothing failed", lambda s, r: r.answers.append(s.Answer(2, True, 1022, 1023, 503, ""))),
    ("refused, and the watch told nobody", lambda s, r: r.events.clear()),
    ("answered at last, and the store has it otherwise", lambda s, r: r.rows.pop()),
    ("answered at last, and the store has it otherwise", lambda s, r: r.rows[0].update(state="missing")),
    ("memory that grew", lambda s, r: r.memory["verifier"].append((1090, 12000))),
])
def test_is_found(soak, run, found, change):
    change(soak, run)
    assert bad(run) == {found: 1}


@pytest.mark.long
def test_some_minutes():
    done = w.run(PROGRAM, "--minutes", "8", "--instances", "100", "--rate", "10", "--json", check=False, text=True)
    result = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert result["faults"] and result["quiet"] > 1000 and result["answers"]["403 refused"] > 0
