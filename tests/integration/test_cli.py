# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person meets first: help, errors, man pages, completion."""
import json
import re

import pytest
import world as w

DOCS = w.TOP / "docs"
VERBS = re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ", w.muctl("--help").stdout, re.M) if w.MUCTL.exists() else []


def test_overview_lists_verbs():
    assert {"pcr", "baseline record", "baseline predict", "baseline diff", "eventlog", "attest", "enroll", "record show",
            "header check", "doctor"} <= set(VERBS)


def plain(page):
    """A man page's source without its font changes."""
    text = re.sub(r"\\f[BIR]|\\c$", "", (DOCS / page).read_text().replace("\\-", "-"), flags=re.M)
    return re.sub(r"^\.([BI]R?|RB|RI|IB) ", "", text, flags=re.M).replace('"', "")


def options(text):
    return set(re.findall(r"(?<![\w-])--[a-zA-Z][a-zA-Z-]*", text))


def entry(verb):
    """What muctl.8 says about a verb: from its tag to that of the next one."""
    tags = "|".join(sorted(map(re.escape, VERBS), key=len, reverse=True))
    found = re.search(rf"^\.TP\n{verb}\b(.*?)(?=^\.TP\n(?:{tags})\b|^\.S[SH])", plain("muctl.8"), re.M | re.S)
    assert found, f"muctl.8 has no entry for {verb}"
    return found[1]


@pytest.mark.parametrize("verb", VERBS)
def test_help_and_page_agree(verb):
    """--help works, fits a terminal, and the verb's entry in the man page has the same options."""
    text = w.muctl(*verb.split(), "--help").stdout
    assert text.startswith(f"Usage: muctl {verb}")
    assert max(map(len, text.splitlines())) <= 100
    assert options(text) - {"--tcti"} == options(entry(verb)) - {"--tcti"}


def test_page_has_the_verbs_of_the_overview():
    tags = re.findall(r"^\.TP\n([a-z]+(?: (?!-)[a-z]+(?= |$))?)", plain("muctl.8"), re.M)
    assert sorted(t for t in tags if t in VERBS) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_option_is_quoted(verb):
    done = w.muctl(*verb.split(), "--no-such-option", check=False)
    assert done.returncode == 1 and "--no-such-option" in done.stderr


@pytest.mark.parametrize("verb, option, most", [("baseline diff", "--reference", 8), ("doctor", "--image", 16)])
def test_repeated_option_has_a_bound(verb, option, most):
    done = w.muctl(*verb.split(), *[option, "f"] * (most + 1), check=False)
    assert done.returncode == 1 and f"{option}: at most {most}" in done.stderr


def test_last_value_counts():
    done = w.muctl("baseline", "record", "--bank", "sha384", "--bank", "md5", check=False)
    assert done.returncode == 1 and "md5" in done.stderr


@pytest.mark.parametrize("words", [[], ["unlock"], ["baseline"], ["baseline", "guess"], ["record"]])
def test_unknown_verb(words):
    done = w.muctl(*words, check=False)
    assert done.returncode == 1 and done.stderr


def test_missing_tpm_is_a_retry_or_configuration_error():
    done = w.muctl("pcr", "--tcti", "device:/dev/no-such-tpm", check=False)
    assert done.returncode in (3, 4) and "no-such-tpm" in done.stderr


@pytest.mark.parametrize("verb, member", [("record show", "signature"), ("header check", "rules")])
@pytest.mark.parametrize("name, code", [("missing", 3), ("not-luks", 2)])
def test_unreadable_device_is_reported(verb, member, name, code, tmp_path):
    """Whoever asked for JSON gets it, whatever the device holds."""
    (tmp_path / "not-luks").write_bytes(bytes(1 << 20))
    done = w.muctl(*verb.split(), tmp_path / name, "--json", check=False)
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (code, False) and member in report
    assert name in done.stderr


def test_measured_unlock_page_names_its_options():
    assert options(plain("measured-unlock.8")) == options(w.run(w.UNLOCK, "--help", text=True).stdout)


def test_configuration_page_has_the_keys_of_the_parser():
    """Section by section, in both directions."""
    keys = re.findall(r'^    \{"(boot|tpm|aws|vault|volume)", "([a-z_]+)"', (w.TOP / "unlock/base/config.c").read_text(), re.M)
    sections = re.split(r"^\.S[SH] ", plain("measured-unlock.conf.5"), flags=re.M)
    listed = [(section[1:].split("]")[0].split()[0], key) for section in sections if section.startswith("[")
              for tag in re.findall(r"^\.TP\n(.*)", section, re.M) for key in re.findall(r"[a-z_]+", tag)]
    assert len(keys) > 10 and sorted(listed) == sorted(keys)


def test_watch_page_has_the_keys_of_the_parsers():
    for source in ("unlock/verifier/watch_settings.c", "unlock/ctl/monitor_settings.c"):
        keys = re.findall(r'^    \{"(watch|command|webhook|monitor)", "([a-z_]+)"', (w.TOP / source).read_text(), re.M)
        sections = re.split(r"^\.S[SH] ", plain("muctl-watch.conf.5"), flags=re.M)
        listed = [(section[1:].split("]")[0], key) for section in sections if section.startswith("[")
                  for tag in re.findall(r"^\.TP\n(.*)", section, re.M) for key in re.findall(r"[a-z_]+", tag)]
        assert keys and sorted(k for k in listed if k[0] in {s for s, _ in keys}) == sorted(keys)


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
    assert complete(w.MUCTL, "pcr", "--ba") == ["--bank"]


@pytest.mark.parametrize("verb", VERBS)
def test_completion_knows_the_options(verb):
    assert set(complete(w.MUCTL, *verb.split(), "--")) == options(w.muctl(*verb.split(), "--help").stdout)


def test_completion_knows_the_verbs():
    assert {v.split()[0] for v in VERBS} == {v for v in complete(w.MUCTL, "") if not v.startswith("-")}
    for first in {v.split()[0] for v in VERBS if " " in v}:
        assert complete(w.MUCTL, first, "") == [v.split()[1] for v in VERBS if v.startswith(first + " ")]
