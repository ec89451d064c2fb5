# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every source file, and can be seen by reading it."""

import concurrent.futures
import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
FILE_LINES_MAX = 620
FUNCTION_LINES_MAX = 100
COLUMNS_MAX = 100

# The folders of store/, lowest first: each may include itself and what stands above its line.
LAYERS = [
    {"base"},
    {"format", "chunk"},
    {"tree"},
    {"s3"},
    {"backend"},
    {"index"},
    {"state", "object"},
    {"write"},
    {"merge"},
    {"head"},
    {"transfer"},
    {"record"},
    {"catalog"},
    {"run", "lineage"},
    {"service"},
]
# Format knows the limits of chunks, which are settings of a repo; chunks those of the format.
PEERS = {("format", "chunk"), ("chunk", "format")}

# A library's header, and the only places that know it.
FOREIGN = {
    "lmdb.h": ("store/index/", "store/state/lmdbstore", "tests/"),
    "curl/curl.h": ("store/s3/http",),
    "expat.h": ("store/s3/xml.c",),
    "libs3.h": ("store/backend/libs3",),
    "fuse_lowlevel.h": ("fs/", "tests/"),
    "fuse.h": (),
    "zstd.h": ("store/format/frame.c", "tests/"),
    "xxhash.h": ("store/base/hash.c",),
    "openssl/evp.h": ("store/base/digest.c", "store/base/oid.c", "store/s3/sign.c"),
    "openssl/ssl.h": ("store/s3/http_trust.c", "tests/"),
    "archive.h": ("store/transfer/tar_",),
    "jansson.h": ("store/record/", "store/catalog/", "store/run/", "store/lineage/",
                  "store/service/", "fs/stats", "tools/", "tests/"),
    "ini.h": ("tools/conf.c", "tools/run_config.c"),
    "yaml.h": ("tools/run_yaml.c",),
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
TEXTS = [n for n in FILES
         if n.endswith((".c", ".h", ".py", ".build", ".sh", ".bash", ".in", ".1", ".5", ".7", ".8")) or
         n in ("tools/quickstart", "tools/check", ".ci/run")]


def read(name):
    return (TOP / name).read_text(encoding="utf-8")


def report(wrong):
    assert not wrong, "\n" + "\n".join(wrong)


def test_there_are_files_to_look_at():
    assert len(C_FILES) > 100


def test_every_file_says_its_licence():
    report([n for n in TEXTS if "SPDX-License-Identifier: GPL-3.0-or-later" not in
            "\n".join(read(n).splitlines()[:3])])


def test_every_c_file_says_what_it_is_for():
    report([n for n in C_FILES if not re.match(r"/\* SPDX[^\n]*\*/\n/\*\n \* \S", read(n))])


def test_no_line_is_too_long_or_ends_in_blanks():
    wrong = []
    for n in TEXTS:
        for i, line in enumerate(read(n).split("\n"), 1):
            if line != line.rstrip():
                wrong.append(f"{n}:{i}: blanks at the end")
            # What is between quotes may be long, and is better found in one line.
            if n.endswith((".c", ".h")) and len(line.expandtabs(8)) > COLUMNS_MAX and '"' not in line:
                wrong.append(f"{n}:{i}: {len(line.expandtabs(8))} columns")
        if not read(n).endswith("\n"):
            wrong.append(f"{n}: no newline at the end")
    report(wrong)


def test_no_file_is_too_long():
    report([f"{n}: {len(read(n).splitlines())} lines" for n in C_FILES
            if not n.startswith("tests/") and len(read(n).splitlines()) > FILE_LINES_MAX])


def test_no_function_is_too_long():
    wrong = []
    for n in C_FILES:
        start = None
        for i, line in enumerate(read(n).split("\n"), 1):
            if line == "{":
                start = i
            elif line == "}" and start:
                if i - start > FUNCTION_LINES_MAX:
                    wrong.append(f"{n}:{start}: {i - start} lines")
                start = None
    report(wrong)


def test_nothing_is_left_to_be_done():
    words = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")) + r")\b")
    report([f"{n}:{i}" for n in TEXTS for i, line in enumerate(read(n).split("\n"), 1)
            if words.search(line)])


def includes(name):
    return re.findall(r'^#include ["<]([^">]+)[">]', read(name), re.M)


def rank(folder):
    return next((i for i, names in enumerate(LAYERS) if folder in names), None)


def test_includes_in_the_store_go_downwards():
    wrong = []
    for n in C_FILES:
        parts = n.split("/")
        if parts[0] != "store":
            continue
        own = parts[1]
        if rank(own) is None:
            wrong.append(f"{n}: a folder without a layer")
            continue
        for path in includes(n):
            other = path.split("/")[0] if "/" in path else own
            if rank(other) is not None and other != own and rank(other) >= rank(own) and \
                    (own, other) not in PEERS:
                wrong.append(f"{n} includes {path}")
    report(wrong)


def test_headers_do_not_include_one_another_in_a_circle():
    headers = {n: [] for n in C_FILES if n.endswith(".h")}
    for n, found in headers.items():
        for path in includes(n):
            for top in ("store/", os.path.dirname(n) + "/"):
                if top + path in headers:
                    found.append(top + path)
    done, wrong = set(), []

    def visit(n, trail):
        if n in trail:
            wrong.append(" -> ".join(trail[trail.index(n):] + [n]))
        elif n not in done:
            done.add(n)
            for other in headers[n]:
                visit(other, trail + [n])

    for n in headers:
        visit(n, [])
    report(wrong)


def test_a_header_can_be_included_alone(tmp_path):
    compiler = shutil.which("cc")
    if not compiler or not shutil.which("pkg-config"):
        pytest.skip("needs a compiler and pkg-config")
    flags = shlex.split(subprocess.run(["pkg-config", "--cflags", "fuse3", "jansson"], check=True,
                                       stdout=subprocess.PIPE, text=True).stdout)

    def compiles(name):
        source = tmp_path / (name.replace("/", "-") + ".c")
        source.write_text(f'#include "{TOP / name}"\n')
        done = subprocess.run([compiler, "-std=gnu17", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64",
                               "-Istore", "-Ifs", "-Itools", *flags, "-fsyntax-only", source],
                              cwd=TOP, stderr=subprocess.PIPE, text=True)
        return None if done.returncode == 0 else f"{name}: {done.stderr.splitlines()[1:2]}"

    names = [n for n in C_FILES if n.endswith(".h") and n.startswith(("store/", "fs/", "tools/")) and
             not n.startswith("tools/bench/")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        report([wrong for wrong in pool.map(compiles, names) if wrong])


def test_the_store_knows_neither_the_daemon_nor_the_command():
    above = {pathlib.Path(n).name for n in C_FILES if n.startswith(("fs/", "tools/"))}
    report([f"{n} includes {path}" for n in C_FILES if n.startswith("store/")
            for path in includes(n) if "/" not in path and path in above])


def test_daemon_and_command_use_the_store_from_its_third_layer_up():
    inner = {"tree", "chunk", "state", "write"}
    wrong = [f"{n} includes {path}" for n in C_FILES if n.startswith(("fs/", "tools/"))
             for path in includes(n) if path.split("/")[0] in inner]
    # The index is not asked for anything but its numbers.
    wrong += [f"{n} includes {path}" for n in C_FILES if n.startswith(("fs/", "tools/"))
              for path in includes(n) if path.startswith("index/") and n != "fs/stats.c"]
    report(wrong)


def test_a_library_is_known_in_its_place_alone():
    report([f"{n} includes {path}" for n in C_FILES for path in includes(n)
            if path in FOREIGN and not n.startswith(FOREIGN[path])])


def test_headers_are_included_once():
    report([n for n in C_FILES if n.endswith(".h") and "#pragma once" not in read(n)])


def code_of(name):
    """Without comments and the insides of strings; lines stay where they are."""
    def blank(m):
        text = m[0]
        return "\n" * text.count("\n") if text.startswith("/") else '""'
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, read(name), flags=re.S)


def test_functions_that_cannot_be_used_safely_are_not():
    names = ("gets strcpy strcat stpcpy sprintf vsprintf strtok alloca tmpnam tempnam mktemp atoi "
             "atol atoll atof system popen rand srand random asctime ctime gmtime localtime "
             "vfork setjmp longjmp").split()
    banned = re.compile(r"(?<![\w>.])(" + "|".join(names) + r")\(")
    report([f"{n}:{i}: {line.strip()}" for n in C_FILES
            if n.startswith(("store/", "fs/", "tools/")) and not n.startswith("tools/bench/")
            for i, line in enumerate(code_of(n).split("\n"), 1) if banned.search(line)])


def test_the_library_neither_exits_nor_prints():
    # A damaged index is looked at in a process of its own, whose end does no harm.
    banned = re.compile(r"(?<![\w>.])(exit|_exit|printf|puts|putchar|perror)\(")
    report([f"{n}:{i}: {line.strip()}" for n in C_FILES
            if n.startswith("store/") and n != "store/index/lmdbcheck.c"
            for i, line in enumerate(code_of(n).split("\n"), 1) if banned.search(line)])


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
    scripts += [n for n in FILES if n.startswith(("tools/", ".ci/")) and
                "." not in pathlib.Path(n).name and read(n).startswith("#!/bin/")]
    assert {"tools/check", "tools/quickstart", ".ci/run"} <= set(scripts)
    done = subprocess.run([tool, "-x", "-s", "bash", *scripts], cwd=TOP, stdout=subprocess.PIPE,
                          text=True)
    assert done.returncode == 0, done.stdout


def test_every_source_is_built():
    built = "".join(read(n) for n in FILES if n.endswith("meson.build"))
    report([n for n in C_FILES if n.endswith(".c") and not n.startswith("tests/") and
            not n.startswith("tools/bench/") and
            not re.search(r"'" + re.escape(n.split("/", 1)[1]) + r"'", built)])


@pytest.mark.parametrize("page", [n for n in FILES if re.search(r"\.[1578]$", n)])
def test_a_manual_page_has_no_faults(page):
    if not shutil.which("mandoc"):
        pytest.skip("needs mandoc")
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], cwd=TOP,
                          stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0 and done.stdout == "", done.stdout
