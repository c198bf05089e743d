# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person meets first: help, errors, man pages, completion."""
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
import world as w

MAN, COMPLETION = w.TOP / "docs/man", w.TOP / "unlock/packaging/completion"
PROGRAMS = {"muctl": (w.MUCTL, w.muctl), "mu-verifier": (w.MU_VERIFIER, w.mu_verifier)}


def verbs(program):
    path, run = PROGRAMS[program]
    return re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ", run("--help").stdout, re.M) if path.exists() else []


VERBS = verbs("muctl")
COMMANDS = [(program, verb) for program in PROGRAMS for verb in verbs(program)]


def test_overview_lists_verbs():
    assert verbs("mu-verifier") == ["serve", "init", "check", "watch", "list", "forget", "image approve",
                                    "image revoke", "image list", "image show", "audit"]
    assert {"pcr", "baseline record", "baseline predict", "baseline diff", "eventlog", "attest", "enroll", "record show",
            "header check", "doctor"} <= set(VERBS)


def plain(page):
    """A man page's source without its font changes."""
    text = re.sub(r"\\f[BIR]|\\c$", "", (MAN / page).read_text().replace("\\-", "-"), flags=re.M)
    return re.sub(r"^\.([BI]R?|RB|RI|IB) ", "", text, flags=re.M).replace('"', "")


def options(text):
    return set(re.findall(r"(?<![\w-])--[a-zA-Z][a-zA-Z-]*", text))


def entry(program, verb):
    """What its page says about a verb: from its tag to that of the next one."""
    tags = "|".join(sorted(map(re.escape, verbs(program)), key=len, reverse=True))
    found = re.search(rf"^\.TP\n{verb}\b(.*?)(?=^\.TP\n(?:{tags})\b|^\.S[SH])", plain(f"{program}.8"), re.M | re.S)
    assert found, f"{program}.8 has no entry for {verb}"
    return found[1]


@pytest.mark.parametrize("program, verb", COMMANDS)
def test_help_and_page_agree(program, verb):
    """--help works, fits a terminal, and the verb's entry in the man page has the same options."""
    text = PROGRAMS[program][1](*verb.split(), "--help").stdout
    assert text.startswith(f"Usage: {program} {verb}")
    assert max(map(len, text.splitlines())) <= 100
    assert options(text) - {"--tcti"} == options(entry(program, verb)) - {"--tcti"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_page_has_the_verbs_of_the_overview(program):
    tags = re.findall(r"^\.TP\n([a-z]+(?: (?!-)[a-z]+(?= |$))?)", plain(f"{program}.8"), re.M)
    assert sorted(t for t in tags if t in verbs(program)) == sorted(verbs(program))


@pytest.mark.parametrize("program, verb", COMMANDS)
def test_unknown_option_is_quoted(program, verb):
    done = PROGRAMS[program][1](*verb.split(), "--no-such-option", check=False)
    assert done.returncode == 1 and "--no-such-option" in done.stderr and f"'{program} {verb.split()[-1]} --help'" in done.stderr


@pytest.mark.parametrize("words, instead", [
    ("verifier --help", "serve --help"), ("verifier init --help", "init --help"), ("watch list --help", "list --help"),
    ("watch --no-such", "watch --no-such"), ("help watch", "help watch"), ("help verifier", "help serve")])
def test_what_the_other_program_does(words, instead, tmp_path):
    """It is run if it lies beside muctl, and named if not."""
    there, wanted = w.muctl(*words.split(), check=False), w.mu_verifier(*instead.split(), check=False)
    assert (there.returncode, there.stdout, there.stderr) == (wanted.returncode, wanted.stdout, wanted.stderr)
    alone = Path(shutil.copy(w.MUCTL, tmp_path))
    done = w.run(alone, *words.split(), check=False, text=True)
    assert done.returncode == 1 and "a program of its own" in done.stderr and "mu-verifier" in done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_server_and_databases_are_in_one_program(program):
    """By the words in the static program, or by the libraries that the other needs."""
    text = PROGRAMS[program][0].read_bytes()
    found = [name for name in (b"libmicrohttpd", b"sqlite3", b"PQconnect", b"gnutls", b"sqlite_master") if name in text]
    assert bool(found) == (program == "mu-verifier"), found


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


@pytest.mark.parametrize("words, meant", [
    (["prc"], "pcr"), (["PCR"], "pcr"), (["enrol"], "enroll"), (["verfiy"], "verify"), (["baseline", "predct"], "baseline predict"),
    (["basline", "record"], "baseline record"), (["policy", "lnt", "f"], "policy lint"), (["record", "shwo"], "record show")])
def test_did_you_mean(words, meant):
    done = w.muctl(*words, check=False)
    assert done.returncode == 1 and f"did you mean 'muctl {meant}'?" in done.stderr


@pytest.mark.parametrize("words", [["frobnicate"], ["xy"], ["baseline", "frobnicate"]])
def test_nothing_is_meant(words):
    done = w.muctl(*words, check=False)
    assert done.returncode == 1 and "did you mean" not in done.stderr and "muctl help" in done.stderr


@pytest.mark.parametrize("program, verb", COMMANDS)
def test_help_is_a_verb(program, verb):
    run = PROGRAMS[program][1]
    assert run("help", *verb.split()).stdout == run(*verb.split(), "--help").stdout


@pytest.mark.parametrize("group", sorted({v.split()[0] for v in VERBS if " " in v} - set(VERBS)))
def test_help_of_a_group(group):
    text = w.muctl("help", group).stdout
    assert re.findall(rf"^  ({group} [a-z]+)  ", text, re.M) == [v for v in VERBS if v.startswith(group + " ")]
    assert w.muctl(group, "--help").stdout == text == w.muctl(group, "-h").stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_and_version_as_verbs(program):
    run = PROGRAMS[program][1]
    assert run("help").stdout == run("--help").stdout == run("-h").stdout
    assert run("version").stdout == run("--version").stdout == run("-V").stdout and run("version").stdout.startswith(program + " ")
    assert run("help", "frobnicate", check=False).returncode == 1


def test_missing_tpm_is_a_retry_or_configuration_error():
    done = w.muctl("pcr", "--tcti", "device:/dev/no-such-tpm", check=False)
    assert done.returncode in (3, 4) and "no-such-tpm" in done.stderr


def said(done):
    """Standard error in one line, as it was before it was folded."""
    return " ".join(re.sub(r"^muctl:", "", done.stderr, flags=re.M).split())


def test_half_of_a_key_is_named(tmp_path):
    key, public, text = (tmp_path / n for n in ("builder.key", "builder.pem", "baseline.json"))
    w.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", key)
    w.run("openssl", "pkey", "-in", key, "-pubout", "-out", public)
    text.write_text(json.dumps({"Measurements": {"HashAlgorithm": "SHA384", "PCR4": "ab" * 48}}))
    done = w.muctl("baseline", "sign", text, "--key", public, check=False)
    assert done.returncode == 4 and "the public half of a key" in said(done)
    done = w.muctl("baseline", "verify", text, "--key", public, check=False)
    assert done.returncode == 4 and "'muctl baseline sign' makes it" in said(done)
    w.muctl("baseline", "sign", text, "--key", key)
    done = w.muctl("baseline", "verify", text, "--key", key, check=False)
    assert done.returncode == 4 and "this is a private key" in said(done)
    w.muctl("baseline", "verify", text, "--key", public)


@pytest.mark.skipif(Path("/sys/kernel/security/tpm0").exists(), reason="this machine has a TPM")
def test_no_event_log_is_explained():
    done = w.muctl("eventlog", check=False)
    assert done.returncode == 4 and "has no TPM" in said(done)


@pytest.mark.parametrize("verb, member", [("record show", "signature"), ("header check", "rules")])
@pytest.mark.parametrize("name, code", [("missing", 3), ("not-luks", 2)])
def test_unreadable_device_is_reported(verb, member, name, code, tmp_path):
    """Whoever asked for JSON gets it, whatever the device holds."""
    (tmp_path / "not-luks").write_bytes(bytes(1 << 20))
    done = w.muctl(*verb.split(), tmp_path / name, "--json", check=False)
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (code, False) and member in report
    assert name in done.stderr


def test_volumes_by_relative_paths(tmp_path):
    """Wherever a volume is named: `muctl enroll header.img`, as docs/guide/updating.md has it."""
    volume = w.make_volume(tmp_path / "header.img")
    for name in ("header.img", "./header.img", f"../{tmp_path.name}/header.img"):
        done = w.run(w.MUCTL, "header", "check", name, cwd=tmp_path, check=False, text=True)
        assert done.returncode == 0, done.stderr
        done = w.run(w.MUCTL, "record", "show", name, cwd=tmp_path, check=False, text=True)
        assert done.returncode == 2 and "record" in done.stderr, done.stderr
        done = w.run(w.MUCTL, "enroll", name, "--provider", "tpm2", "--tcti", "swtpm:host=127.0.0.1,port=1", "--baseline",
                     complete_baseline(tmp_path), "--sign-key", signing_key(tmp_path), "--key-file", "-", cwd=tmp_path,
                     check=False, text=True, input=w.PASSPHRASE.decode())
        assert done.returncode in (3, 4) and "port=1" in done.stderr, done.stderr  # the volume was found, the TPM is not there
    for name in ("uuid=0B3A1C5E-7C1D-4D0F-9A52-5F0C8E6D1A77", "PartLabel=nothing"):
        done = w.muctl("header", "check", name, check=False)
        assert done.returncode == 3 and "did not appear" in done.stderr


@pytest.mark.parametrize("end", ["", "\n"])
def test_passphrase_that_nobody_can_type(tmp_path, end):
    """What `echo` writes is taken as it is, and the newline is told of."""
    volume, file = w.make_volume(tmp_path / "volume.img"), tmp_path / "passphrase"
    file.write_bytes(w.PASSPHRASE + end.encode())
    file.chmod(0o600)
    done = w.muctl("enroll", volume, "--provider", "tpm2", "--tcti", "swtpm:host=127.0.0.1,port=1", "--volume", "root", "--baseline",
                   complete_baseline(tmp_path), "--sign-key", signing_key(tmp_path), "--key-file", file, check=False)
    assert ("ends with a newline" in done.stderr) == (end != "") and done.returncode != 0


def complete_baseline(folder):
    path = folder / "complete.json"
    path.write_text(json.dumps({"Measurements": {"HashAlgorithm": "SHA384", **{
        f"PCR{n}": f"{n:02x}" * 48 for n in (2, 3, 4, 7, 12, 13, 14)}}}))
    return path


def signing_key(folder):
    return w.make_builder_key(folder)[0]


def test_measured_unlock_page_names_its_options():
    assert options(plain("measured-unlock.8")) == options(w.run(w.UNLOCK, "--help", text=True).stdout)


def test_configuration_page_has_the_keys_of_the_parser():
    """Section by section, in both directions."""
    keys = re.findall(r'^    \{"(boot|tpm|aws|vault|volume)", "([a-z_]+)"', (w.TOP / "unlock/base/config.c").read_text(), re.M)
    sections = re.split(r"^\.S[SH] ", plain("measured-unlock.conf.5"), flags=re.M)
    listed = [(section[1:].split("]")[0].split()[0], key) for section in sections if section.startswith("[")
              for tag in re.findall(r"^\.TP\n(.*)", section, re.M) for key in re.findall(r"[a-z_]+", tag)]
    assert len(keys) > 10 and sorted(listed) == sorted(keys)


@pytest.mark.parametrize("source, page", [
    ("unlock/fleet/watch_settings.c", "muctl-watch.conf.5"), ("unlock/ctl/monitor_settings.c", "muctl-monitor.conf.5")])
def test_watch_and_monitor_pages_have_the_keys_of_the_parsers(source, page):
    keys = re.findall(r'^    \{"(watch|command|webhook|monitor)", "([a-z_]+)"', (w.TOP / source).read_text(), re.M)
    sections = re.split(r"^\.S[SH] ", plain(page), flags=re.M)
    listed = [(section[1:].split("]")[0], key) for section in sections if section.startswith("[")
              for tag in re.findall(r"^\.TP\n(.*)", section, re.M) for key in re.findall(r"[a-z_]+", tag)]
    assert keys and sorted(listed) == sorted(keys)


@pytest.mark.parametrize("page", sorted(p.name for p in MAN.glob("*.[1-8]")))
def test_man_page_is_clean(page):
    assert w.run("mandoc", "-Tlint", "-W", "warning", w.BUILD / "man" / page).stdout == b""


def in_bash(*words):
    line = " ".join(f"'{x}'" for x in words)
    script = (f"source {COMPLETION}/muctl.bash; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _muctl; "
              "printf '%s\\n' \"${COMPREPLY[@]}\"")
    return w.run("bash", "-c", script, text=True).stdout.split()


def in_zsh(*words):
    """What the function hands to the shell's own, which exist only while somebody presses Tab."""
    line = " ".join(f"'{x}'" for x in words)
    script = (f"compadd() {{ shift; print -l -- $@ }}; _files() {{ }}; words=({line}); CURRENT={len(words)}; source {COMPLETION}/muctl.zsh")
    given = w.run("zsh", "-f", "-c", script, text=True).stdout.split()
    return [x for x in given if x.startswith(words[-1])]


def in_fish(*words):
    """By the program's name, since that is what is completed; a file is offered with the folder it is in, or not at all."""
    script = f"source {COMPLETION}/muctl.fish; complete -C '{' '.join([words[0].name, *words[1:]])}'"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / words[0].name).symlink_to(words[0])
        return w.run("fish", "--no-config", "-c", script, text=True, cwd=folder,
                     env={"PATH": f"{folder}:{os.environ['PATH']}", "HOME": folder}).stdout.split()


@pytest.fixture(params=["bash", "zsh", "fish"])
def complete(request):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed (tests/setup installs it)")
    return {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}[request.param]


def test_completion(complete):
    assert "baseline" in complete(w.MUCTL, "bas")
    assert complete(w.MUCTL, "baseline", "pre") == ["predict"]
    assert complete(w.MUCTL, "pcr", "--ba") == ["--bank"]


def test_completion_knows_the_options(complete):
    for program, verb in COMMANDS:
        path, run = PROGRAMS[program]
        assert set(complete(path, *verb.split(), "--")) == options(run(*verb.split(), "--help").stdout), (program, verb)


def test_completion_knows_the_verbs(complete):
    for program, (path, _) in PROGRAMS.items():
        assert {v.split()[0] for v in verbs(program)} == {v for v in complete(path, "") if not v.startswith("-")}
    for first in {v.split()[0] for v in VERBS if " " in v}:
        assert sorted(complete(w.MUCTL, first, "")) == sorted(v.split()[1] for v in VERBS if v.startswith(first + " "))


@pytest.mark.parametrize("program, verb, option, values", [
    ("muctl", "pcr", "--bank", "sha384 sha256"), ("muctl", "baseline predict", "--bank", "sha384 sha256"),
    ("muctl", "enroll", "--provider", "aws-kms tpm2 vault"), ("mu-verifier", "list", "--state", "ok mismatch boot-overdue missing")])
def test_completion_knows_values(complete, program, verb, option, values):
    """And each is one that the verb's help names."""
    path, run = PROGRAMS[program]
    assert sorted(complete(path, *verb.split(), option, "")) == sorted(values.split())
    start = values.split()[1][:4]
    assert sorted(complete(path, *verb.split(), option, start)) == sorted(v for v in values.split() if v.startswith(start))
    text = run(*verb.split(), "--help").stdout
    assert option in text and all(v in text for v in values.split())


def test_bash_completes_after_an_equals_sign():
    assert in_bash(w.MUCTL, "pcr", "--bank", "=") == ["sha384", "sha256"]
    assert in_bash(w.MUCTL, "pcr", "--bank", "=", "sha2") == ["sha256"]


def test_completion_leaves_files_to_the_shell(tmp_path):
    (tmp_path / "image.efi").touch()
    assert in_bash(w.MUCTL, "baseline", "predict", "--image", "") == []
    if shutil.which("fish"):
        script = f"source {COMPLETION}/muctl.fish; complete -C 'muctl baseline predict --image im'"
        assert w.run("fish", "--no-config", "-c", script, text=True, cwd=tmp_path).stdout.split() == ["image.efi"]
