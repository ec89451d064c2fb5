# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every source file, and can be seen by reading it."""

import pathlib
import re
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
LINES_MAX = 650
COLUMNS_MAX = 100

# The folders of store/, lowest first: each may include what stands in its own line or above.
LAYERS = [
    {"base"},
    {"format", "chunk", "tree"},
    {"backend", "index"},
    {"object"},
    {"write", "head"},
    {"transfer", "service"},
]

# A library's header, and the only places that know it.
FOREIGN = {
    "lmdb.h": ("store/index/", "store/head/lmdbstore", "tests/"),
    "curl/curl.h": ("store/backend/http",),
    "libs3.h": ("store/backend/libs3",),
    "fuse_lowlevel.h": ("fs/", "tests/"),
    "fuse.h": (),
    "zstd.h": ("store/format/frame.c", "tests/"),
    "xxhash.h": ("store/base/hash.c",),
    "openssl/evp.h": ("store/base/oid.c",),
    "jansson.h": ("store/service/", "fs/stats", "tools/", "tests/"),
    "ini.h": ("tools/conf.c",),
}


def tracked():
    """Every file that is the project's."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                                cwd=TOP, stdout=subprocess.PIPE, check=True).stdout
        names = [n.decode() for n in listed.split(b"\0") if n]
    except (OSError, subprocess.CalledProcessError):
        names = [str(p.relative_to(TOP)) for p in TOP.rglob("*")
                 if p.is_file() and not p.relative_to(TOP).parts[0].startswith((".git", "build"))]
    return [n for n in names if (TOP / n).is_file()]


FILES = tracked()
C_FILES = [n for n in FILES if n.endswith((".c", ".h"))]
TEXTS = [n for n in FILES if n.endswith((".c", ".h", ".py", ".build", ".sh", ".bash", ".in", ".1",
                                         ".5", ".8")) or n in ("tools/quickstart", "tools/check")]


def read(name):
    return (TOP / name).read_text(encoding="utf-8")


def report(wrong):
    assert not wrong, "\n" + "\n".join(wrong)


def test_there_are_files_to_look_at():
    assert len(C_FILES) > 100


def test_every_file_says_its_licence():
    report([n for n in TEXTS if "SPDX-License-Identifier: GPL-3.0-or-later" not in
            "\n".join(read(n).splitlines()[:2])])


def test_every_c_file_says_what_it_is_for():
    report([n for n in C_FILES if not re.match(r"/\* SPDX[^\n]*\*/\n/\*\n \* \S", read(n))])


def test_no_line_is_too_long_or_ends_in_blanks():
    wrong = []
    for n in TEXTS:
        for i, line in enumerate(read(n).split("\n"), 1):
            if line != line.rstrip():
                wrong.append(f"{n}:{i}: blanks at the end")
            # A man page's lines are prose, a test's data may be long.
            if n.endswith((".c", ".h")) and len(line.expandtabs(8)) > COLUMNS_MAX and '"' not in line:
                wrong.append(f"{n}:{i}: {len(line.expandtabs(8))} columns")
        if not read(n).endswith("\n"):
            wrong.append(f"{n}: no newline at the end")
    report(wrong)


def test_no_file_is_too_long():
    report([f"{n}: {len(read(n).splitlines())} lines" for n in C_FILES
            if not n.startswith("tests/") and len(read(n).splitlines()) > LINES_MAX])


def test_nothing_is_left_to_be_done():
    words = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")) + r")\b")
    report([f"{n}:{i}" for n in TEXTS for i, line in enumerate(read(n).split("\n"), 1)
            if words.search(line)])


def includes(name):
    return re.findall(r'^#include ["<]([^">]+)[">]', read(name), re.M)


def layer_of(folder):
    return next((i for i, names in enumerate(LAYERS) if folder in names), None)


def test_includes_in_the_store_go_downwards():
    wrong = []
    for n in C_FILES:
        parts = n.split("/")
        if parts[0] != "store":
            continue
        own = layer_of(parts[1])
        if own is None:
            wrong.append(f"{n}: a folder without a layer")
            continue
        for path in includes(n):
            folder = path.split("/")[0]
            other = layer_of(folder) if "/" in path else None
            if other is not None and other > own:
                wrong.append(f"{n} includes {path}")
    report(wrong)


def test_the_store_knows_neither_the_daemon_nor_the_command():
    above = {pathlib.Path(n).name for n in C_FILES if n.startswith(("fs/", "tools/"))}
    report([f"{n} includes {path}" for n in C_FILES if n.startswith("store/")
            for path in includes(n) if "/" not in path and path in above])


def test_daemon_and_command_use_the_store_from_its_third_layer_up():
    inner = {"tree", "index", "chunk"}
    report([f"{n} includes {path}" for n in C_FILES if n.startswith(("fs/", "tools/"))
            for path in includes(n) if path.split("/")[0] in inner])


def test_a_library_is_known_in_its_place_alone():
    report([f"{n} includes {path}" for n in C_FILES for path in includes(n)
            if path in FOREIGN and not n.startswith(FOREIGN[path])])


def test_headers_are_included_once():
    report([n for n in C_FILES if n.endswith(".h") and "#pragma once" not in read(n)])


def test_functions_that_cannot_be_used_safely_are_not():
    banned = re.compile(r"\b(gets|sprintf|vsprintf|strtok|alloca|tmpnam|mktemp)\(")
    report([f"{n}:{i}: {line.strip()}" for n in C_FILES if not n.startswith("tests/")
            for i, line in enumerate(read(n).split("\n"), 1) if banned.search(line)])


def test_code_is_formatted():
    tool = shutil.which("clang-format")
    if not tool:
        pytest.skip("needs clang-format")
    version = subprocess.run([tool, "--version"], stdout=subprocess.PIPE, text=True).stdout
    if not re.search(r"version 14\.", version):
        pytest.skip("versions of clang-format differ; the project's is 14")
    done = subprocess.run([tool, "--dry-run", *C_FILES], cwd=TOP, stderr=subprocess.PIPE, text=True)
    report(sorted({line.split(":")[0] for line in done.stderr.splitlines() if "warning:" in line}))


def test_scripts_are_clean():
    tool = shutil.which("shellcheck")
    if not tool:
        pytest.skip("needs shellcheck")
    scripts = [n for n in FILES if n.endswith((".sh", ".bash"))]
    scripts += [n for n in FILES if n.startswith("tools/") and "." not in pathlib.Path(n).name and
                read(n).startswith("#!/bin/")]
    done = subprocess.run([tool, "-x", "-s", "bash", *scripts], cwd=TOP, stdout=subprocess.PIPE,
                          text=True)
    assert done.returncode == 0, done.stdout


def test_the_layers_are_all_there():
    folders = {n.split("/")[1] for n in C_FILES if n.startswith("store/")}
    assert folders <= set().union(*LAYERS)


def test_every_source_is_built():
    built = "".join(read(n) for n in FILES if n.endswith("meson.build"))
    report([n for n in C_FILES if n.endswith(".c") and not n.startswith("tests/") and
            not re.search(r"'" + re.escape(n.split("/", 1)[1]) + r"'", built)])
