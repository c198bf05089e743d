# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guides name exists: links, tests, verbs and options; and the laptop's guide runs as it stands."""
import functools
import re

import pytest
import world as w

PAGES = [w.TOP / "README.md", *sorted((w.TOP / "docs").rglob("*.md"))]
ids = {"ids": lambda p: str(p.relative_to(w.TOP))}
LAPTOP = (w.TOP / "docs/laptop.md").read_text()


def shell(text):
    """The indented blocks, joined to a script."""
    return "".join(line[4:] or "\n" for line in text.splitlines(True) if line.startswith("    "))


@pytest.mark.parametrize("page", PAGES, **ids)
def test_links(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    assert [x for x in links if "://" not in x and not (page.parent / x).exists()] == []


def test_threat_model_names_tests_that_exist():
    text = (w.TOP / "docs/threat-model.md").read_text()
    named = set(re.findall(r"(test_\w+\.(?:py|c))::(test_\w+)", text))
    files = {p.name: p for folder in ("tests", "vm-tests") for p in (w.TOP / folder).rglob("test_*")}
    missing = [f"{file}::{test}" for file, test in named if file not in files or not re.search(
        rf"^(?:def|static void) {test}\(", files[file].read_text(), re.M)]
    assert len(named) > 40 and missing == []


@functools.cache
def options(verb):
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-zA-Z-]*", w.muctl(*verb.split(), "--help").stdout)) | {"--help"}


@pytest.mark.parametrize("page", PAGES, **ids)
def test_commands_of_muctl(page):
    """Each `muctl VERB ...` in a code block or between backticks has a verb and options that there are."""
    verbs = re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ", w.muctl("--help").stdout, re.M)
    text = page.read_text().replace("\\\n", " ")
    fenced = re.compile(r"^```.*?^```", re.M | re.S)
    code = [line for block in fenced.findall(text) for line in block.splitlines()]
    text = fenced.sub("", text)
    code += re.findall(r"^    (.*)$", text, re.M) + re.findall(r"`([^`]+)`", text)
    for line in (found for c in code for found in re.findall(r"muctl ([a-z][^|;&`)]*)", c)):
        verb = next((v for v in verbs if re.match(v + r"\b", line)), None)
        whole = [v.split()[0] for v in verbs]
        assert verb or line.split()[0].rstrip(",") in whole, f"muctl {line}: no such verb"
        if verb:
            used = set(re.findall(r"(?<=\s)--?[a-zA-Z][a-zA-Z-]*", line))
            assert used <= options(verb), f"muctl {line}: {used - options(verb)}"


def test_laptop_guide(tmp_path):
    script = shell(LAPTOP[LAPTOP.index("## Without a machine"):])
    assert script.count("\n") > 50
    done = w.run("bash", "-euxc", script, cwd=w.TOP, text=True, check=False, timeout=120,
                 env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": tmp_path, "HOME": tmp_path,
                      "port": str(w.two_free_ports())})
    assert done.returncode == 0, done.stderr[-3000:]
    assert "signature        good" in done.stdout and '"result":"unlocked"' in done.stdout.replace(": ", ":")
    assert "PCR 15" in done.stderr
    assert list(tmp_path.glob("tmp.*")) == []
