# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/endurance itself: its faults reach the machine, and a lockout is seen."""
import importlib.machinery
import importlib.util
import json
import random

import pytest
import world as w

OK, REFUSE, RETRY = 0, 2, 3


@pytest.fixture(scope="module")
def endurance():
    loader = importlib.machinery.SourceFileLoader("endurance", str(w.TOP / "tests/endurance"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("endurance", loader))
    loader.exec_module(module)
    return module


class Pretended:
    """A machine that answers with these exit codes, the first one before anything is counted."""
    kinds = ["KMS throttles"]

    def __init__(self, *codes):
        self.codes, self.faults = list(codes), []

    def boot(self, faults, boot_s):
        self.faults.append(faults)
        return self.codes.pop(0), "words"


class AlwaysOne(random.Random):
    """Dice that give each boot one fault."""
    def choice(self, options):
        return 1 if 1 in options else super().choice(options)


def judged(endurance, *codes):
    machine = Pretended(OK, *codes)
    return [o for _, o in endurance.endure(machine, len(codes), AlwaysOne(1), lambda *_: None)]


@pytest.mark.parametrize("codes, expected", [
    ([OK, OK], ["unlocked", "unlocked"]),
    ([RETRY, OK], ["refused, transient cause", "unlocked after a failure"]),
    ([None, OK], ["power cut", "unlocked after a failure"]),
    ([RETRY, RETRY], ["refused, transient cause", "locked out"]),
    ([None, REFUSE], ["power cut", "locked out"]),
    ([REFUSE], ["locked out"]),
])
def test_judgement(endurance, codes, expected):
    assert judged(endurance, *codes) == expected


def test_the_boot_after_a_failure_has_no_faults(endurance):
    machine = Pretended(OK, RETRY, OK, None, OK)
    list(endurance.endure(machine, 4, AlwaysOne(1), lambda *_: None))
    assert [len(faults) for faults in machine.faults] == [0, 1, 0, 1, 0]


def test_faults_reach_the_machine(endurance, tmp_path):
    """The slow ones alone do not keep a boot from unlocking."""
    host = endurance.Host(tmp_path, timeout=5)
    try:
        for name in host.kinds:
            if name != endurance.POWER and "is slow" not in name:
                fault = endurance.Fault(name, -1, 100, endurance.AWS_FAULTS[name])
                code, said = host.boot([fault], 1)
                assert code == RETRY, (name, said)
    finally:
        host.close()


def test_a_few_boots(tmp_path):
    done = w.run(w.TOP / "tests/endurance", "--boots", "3", "--seed", "3", "--json")
    found = json.loads(done.stdout)
    assert found["seed"] == 3 and len(found["boots"]) == 3


def test_the_same_seed_gives_the_same_faults(endurance):
    one, two, other = ([endurance.draw(dice, endurance.Vm.kinds) for _ in range(20)]
                       for dice in (random.Random(3), random.Random(3), random.Random(4)))
    assert one == two != other
