# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person meets first: help, errors, man pages, completion."""
import re

import pytest
import world as w

DOCS = w.TOP / "docs"
VERBS = re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ", w.muctl("--help").stdout, re.M) if w.MUCTL.exists() else []


def test_overview_lists_verbs():
    assert {"pcr", "baseline record", "baseline predict", "baseline diff", "eventlog", "attest", "enroll", "record show",
            "header check", "doctor"} <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_complete(verb):
    """--help works, fits a terminal, and the man page knows every option that it names."""
    text = w.muctl(*verb.split(), "--help").stdout
    assert text.startswith(f"Usage: muctl {verb}")
    assert max(map(len, text.splitlines())) <= 100
    page = (DOCS / "muctl.8").read_text().replace("\\-", "-")
    for option in set(re.findall(r"--[a-z-]+", text)):
        assert option in page, f"{option} of {verb} is not in muctl.8"


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_option_is_quoted(verb):
    done = w.muctl(*verb.split(), "--no-such-option", check=False)
    assert done.returncode == 1 and "--no-such-option" in done.stderr


@pytest.mark.parametrize("words", [[], ["unlock"], ["baseline"], ["baseline", "guess"], ["record"]])
def test_unknown_verb(words):
    done = w.muctl(*words, check=False)
    assert done.returncode == 1 and done.stderr


def test_missing_tpm_is_a_retry_or_configuration_error():
    done = w.muctl("pcr", "--tcti", "device:/dev/no-such-tpm", check=False)
    assert done.returncode in (3, 4) and "no-such-tpm" in done.stderr


def test_measured_unlock_page_names_its_options():
    page = (DOCS / "measured-unlock.8").read_text().replace("\\-", "-")
    text = w.run(w.UNLOCK, "--help", text=True).stdout
    for option in set(re.findall(r"--[a-z-]+", text)):
        assert option in page


def test_configuration_page_names_every_key():
    source = (w.TOP / "unlock/base/config.c").read_text()
    keys = re.findall(r'\{"(?:boot|tpm|aws|volume)", "([a-z_]+)"', source)
    page = (DOCS / "measured-unlock.conf.5").read_text()
    assert len(keys) > 10 and [k for k in keys if k not in page] == []


@pytest.mark.parametrize("page", sorted(p.name for p in DOCS.glob("*.[1-8]")))
def test_man_page_is_clean(page):
    assert w.run("mandoc", "-Tlint", "-W", "warning", DOCS / page).stdout == b""


def complete(*words):
    line = " ".join(f"'{x}'" for x in words)
    script = (f"source {DOCS}/completion.bash; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _muctl; "
              "printf '%s\\n' \"${COMPREPLY[@]}\"")
    return w.run("bash", "-c", script, text=True).stdout.split()


def test_completion():
    assert "baseline" in complete(w.MUCTL, "bas")
    assert complete(w.MUCTL, "baseline", "pre") == ["predict"]
    assert "--image" in complete(w.MUCTL, "baseline", "predict", "--im")
    assert complete(w.MUCTL, "pcr", "--ba") == ["--bank"]
