# SPDX-License-Identifier: GPL-3.0-or-later
"""Worlds, changes of worlds and programs, by chance, for the model of `pfs run --memo`.

A world says what there is in a mount: its branches, and in each of them files by path. `settle()`
makes a mount just that, and touches nothing that is so already.
"""

import copy
import itertools
import os
import shutil
import stat

TOP = "R/main"  # where programs run
STAYS = "S/main"  # has something in it always: a repo that has a commit cannot be removed
EMPTY = "T/main"  # a repo that comes and goes, with nothing in it
GOES = "R/other"  # a branch that comes and goes
TOPS = [GOES, STAYS, EMPTY]
NAME = "R/v"  # a name of a commit, which comes, goes and moves

# Runs a program: what it sees decides what it writes, so that a wrong answer spreads. It tells
# outside of the mount that it was really run.
PLAYER = r"""
import ctypes, os, stat, sys, zlib
seen = 0
def see(*what):
    global seen
    seen = zlib.crc32(repr(what).encode(), seen)
    print(*what)
def text():
    return b"%08x\n" % seen
def names(top):
    return [n for n in sorted(os.listdir(top)) if not n.startswith("run-")]
def clear(top):
    for name in names(top):
        at = top + "/" + name
        if stat.S_ISDIR(os.lstat(at).st_mode): clear(at)
        else: os.unlink(at)
    os.rmdir(top)
def play(op, a, b):
    if op == "read":
        with open(a, "rb") as f: see(op, a, f.read())
    elif op == "list": see(op, a, names(a))
    elif op == "types":
        with os.scandir(a) as all:
            see(op, a, sorted((e.name, e.is_dir(follow_symlinks=False), e.is_symlink())
                              for e in all if not e.name.startswith("run-")))
    elif op == "walk":
        for at, dirs, files in os.walk(a):
            dirs[:] = sorted(n for n in dirs if n != "commits" and not n.startswith("run-"))
            see(op, at, dirs, sorted(files))
    elif op == "look": s = os.lstat(a); see(op, a, s.st_mode)
    elif op == "stat": s = os.stat(a); see(op, a, s.st_mode, stat.S_ISREG(s.st_mode) and s.st_size)
    elif op == "target": see(op, a, os.readlink(a))
    elif op == "exists": see(op, a, os.path.lexists(a))
    elif op == "if":
        if os.path.exists(a): play("write", b, a)
        see(op, a)
    elif op == "write":
        with open(a, "wb") as f: f.write(text())
    elif op == "append":
        with open(a, "ab") as f: f.write(text())
    elif op == "over":
        with open(a, "r+b") as f: f.write(b"%x" % (seen % 16))
    elif op == "copy":
        with open(a, "rb") as f, open(b, "wb") as g: g.write(f.read())
    elif op == "keep": os.close(os.open(a, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    elif op == "mkdir": os.mkdir(a)
    elif op == "rmdir": os.rmdir(a)
    elif op == "unlink": os.unlink(a)
    elif op == "clear": clear(a)
    elif op == "remake": os.unlink(a); play("write", a, b); play("read", a, b)
    elif op == "renew": os.rmdir(a); os.mkdir(a); play("list", a, b); play("exists", a + "/x", b)
    elif op == "rename": os.rename(a, b)
    elif op == "swap":
        if ctypes.CDLL(None, use_errno=True).renameat2(-100, a.encode(), -100, b.encode(), 2):
            raise OSError(ctypes.get_errno(), a)
    elif op == "link": os.link(a, b)
    elif op == "symlink": os.symlink(b.rsplit("/", 1)[-1], a)
    elif op == "chmod": os.chmod(a, 0o700 if seen % 2 else 0o755)
    elif op == "throw": play("write", a + "~", b); play("read", a + "~", b)
    else: raise ValueError(op)
with open(os.environ["MARKS"], "a") as marks:
    marks.write(".")
with open(sys.argv[1]) as program:
    steps = [line.split() for line in program]
for step in steps:
    try:
        play(*step)
    except OSError as e:
        see(step, e.errno)
"""
# What programs do: to what, and with what else. A path that begins with a dot is taken as it is.
CARDS = [
    ("read", "file"), ("read", "empty"), ("read", "pair"), ("read", "none"), ("read", "link"),
    ("list", "dir"), ("list", "hollow"), ("list", "pairs"), ("types", "dir"), ("walk", "dir"),
    ("walk", "pairs"), ("look", "file"), ("look", "dir"), ("look", "none"), ("look", "link"),
    ("stat", "file"), ("stat", "link"), ("target", "link"), ("exists", "none"), ("exists", "file"),
    ("if", "none", "none"), ("if", "file", "file"), ("write", "none"), ("write", "file"),
    ("append", "file"), ("over", "file"), ("copy", "file", "none"), ("keep", "none"),
    ("mkdir", "none"), ("rmdir", "hollow"), ("rmdir", "dir"), ("unlink", "file"), ("clear", "dir"),
    ("remake", "file"), ("renew", "hollow"), ("rename", "file", "none"),
    ("rename", "hollow", "hollow"), ("link", "file", "none"), ("symlink", "none"),
    ("chmod", "dir"), ("chmod", "file"), ("throw", "none"), ("list", ".."), ("types", "../.."),
    ("list", "../other"), ("exists", "../other"), ("read", "../other/x"), ("list", "../v"),
    ("exists", "../v"), ("read", "../v/p0"), ("read", "../../S/main/x"), ("list", "../../T"),
    ("exists", "../../T"),
]
# What is moved or changed as a whole cannot be put back as it was: nothing repeats these, if all is
# right.
WHOLE = [
    ("over", "pair"), ("unlink", "pair"), ("rename", "pair", "none"), ("rename", "dir", "none"),
    ("rename", "dir", "hollow"), ("rename", "pairs", "none"), ("swap", "dir", "dir"),
    ("swap", "dir", "file"),
]
INNER = ["x", "y", "z"]


class Node:
    """A file (with all names that it has), a link or a directory."""

    def __init__(self, kind, text=None, mode=None):
        self.kind = kind
        self.text = text
        self.mode = mode or {"dir": 0o755, "file": 0o644}.get(kind)


class World:
    """@at: nodes by path below a top. @moment: what TOP had when NAME was given; None: there is no
    such name."""

    def __init__(self):
        self.tops = {TOP: {}}
        self.moment = None

    def copy(self):
        return copy.deepcopy(self)

    @staticmethod
    def split(path):
        """("R/main", "a/b") of a path as programs know it."""
        parts = os.path.normpath(os.path.join(TOP, path)).split("/")
        return "/".join(parts[:2]), "/".join(parts[2:])


def below(at, path):
    return [p for p in at if p.startswith(path + "/")] if path else list(at)


def children(at, path):
    return [p for p in below(at, path) if os.path.dirname(p) == path]


def remove(at, path):
    for p in [path, *below(at, path)]:
        del at[p]


def a_text(rnd):
    return "".join(rnd.choice("0123456789abcdef") for _ in range(8)) + "\n"


def fill(rnd, at, path, depth=0):
    at[path] = Node("dir")
    for name in rnd.sample(INNER, rnd.choice([1, 2, 2])):
        kind = rnd.choice(["file", "file", "empty", "link", "hollow", "dir"])
        if kind == "dir" and depth < 2:
            fill(rnd, at, f"{path}/{name}", depth + 1)
        else:
            plant(rnd, at, f"{path}/{name}", kind)


def plant(rnd, at, path, kind):
    """A path that is what is wanted, at or below one where there is nothing."""
    if kind == "dir":
        fill(rnd, at, path)
    elif kind in ("pair", "pairs", "twins"):
        one = Node("file", a_text(rnd))
        at[path] = Node("dir")
        at[path + "/x"] = one
        at[path + "/y"] = copy.copy(one) if kind == "twins" else one
        return path if kind == "pairs" else path + "/x"
    elif kind == "hollow":
        at[path] = Node("dir")
    elif kind == "link":
        at[path] = Node("link", rnd.choice(INNER))
    elif kind in ("file", "empty"):
        at[path] = Node("file", "" if kind == "empty" else a_text(rnd))
    return path


def what_is_in(rnd, top):
    return {} if top == EMPTY else {"x": Node("file", a_text(rnd))}


def a_world(rnd, cards):
    """A world, and a program of these cards: steps (op, a, b), most of them on a plot of their
    own, and of each the turn."""
    w = World()
    steps = []

    def plot(kind):
        if kind.startswith("."):
            return kind
        path = f"p{len(steps)}{len(w.tops[TOP])}"
        if rnd.random() < 0.4:
            w.tops[TOP][path] = Node("dir")
            path += "/x"
        kind = "twins" if kind == "pair" and rnd.random() < 0.3 else kind
        path = plant(rnd, w.tops[TOP], path, kind)
        if kind == "none" and rnd.random() < 0.3:
            path += "/y"
        return path

    for (op, a, *b), _ in cards:
        steps.append((op, plot(a), plot(b[0]) if b else "p0/y"))
    if rnd.random() < 0.3:
        steps.append((rnd.choice(["read", "list", "exists"]), rnd.choice(steps)[1], "p0/y"))
        cards = [*cards, (None, 0)]
    for top in TOPS:
        if top == STAYS or rnd.random() < 0.5:
            w.tops[top] = what_is_in(rnd, top)
    if rnd.random() < 0.5:
        w.moment = {"p0": Node("file", a_text(rnd))}
    return w, steps, [turn for _, turn in cards]


def hands(rnd, count):
    """The cards of so many programs, each as often as any other, with how often it was before."""
    def deck(cards):
        for turn in itertools.count():
            yield from [(card, turn) for card in rnd.sample(cards, len(cards))]

    plain, whole = deck(CARDS), deck(WHOLE)
    return [[next(whole), next(plain), next(plain)] if n % 5 == 4 else
            [next(plain) for _ in range(5)] for n in range(count)]


# ---- changes: each takes one thing that a program may have seen, and leaves all else ----


# What becomes of what a step is about, one after the other.
OF_FILES = ["text", "type", "mode", "size", "remove", "link", "names"]
OF_LINKS = ["target", "remove", "type"]
OF_DIRS = {op: kinds for ops, kinds in [
    (["look", "stat", "chmod", "exists"], ["mode", "type", "remove"]),
    (["list", "types"], ["more", "less", "name", "all", "kind", "mode", "remove"]),
    (["rmdir", "renew"], ["more", "mode", "remove"]),
    (["walk", "clear", "rename", "swap"], ["deep", "more", "less", "name", "mode", "type", "deep"]),
] for op in ops}
ANY_OF_DIRS = sorted({kind for kinds in OF_DIRS.values() for kind in kinds})


def another_text(rnd, text):
    at = rnd.randrange(len(text) - 1)
    return text[:at] + ("1" if text[at] == "0" else "0") + text[at + 1:]


def change_nothing_there(rnd, at, path):
    up = os.path.dirname(path)
    while up and up not in at:
        up = os.path.dirname(up)
    if up and at[up].kind != "dir":
        return
    while os.path.dirname(path) != up:
        path = os.path.dirname(path)
    at[path] = rnd.choice([Node("file", a_text(rnd)), Node("dir"), Node("link", "x")])


def change_file(rnd, at, path, turn):
    node = at[path]
    names = [p for p in at if at[p] is node]
    same = [p for p in at if at[p] is not node and at[p].kind == "file" and
            (at[p].text, at[p].mode) == (node.text, node.mode)]
    what = OF_FILES[turn % len(OF_FILES)]
    if (len(names) > 1 or same) and turn % 2 == 0:
        what = "names"
    if what == "text" and node.text:
        node.text = another_text(rnd, node.text)
    elif what == "size":
        node.text = "" if node.text else "0\n"
    elif what == "mode":
        node.mode ^= 0o100
    elif what == "type":
        at[path] = Node("dir")
    elif what == "link":
        at[path] = Node("link", rnd.choice(INNER))
    elif what == "names" and len(names) > 1:
        at[path] = copy.copy(node)
    elif what == "names" and same:
        at[path] = at[same[0]]
    else:
        del at[path]


def change_link(rnd, at, path, turn):
    what = OF_LINKS[turn % len(OF_LINKS)]
    if what == "target":
        at[path].text = "x" if at[path].text != "x" else "y"
    elif what == "type":
        at[path] = Node("file", at[path].text)
    else:
        del at[path]


def change_dir(rnd, at, path, turn, op):
    inside = children(at, path)
    deep = below(at, path)
    free = [n for n in [*INNER, "q", "x~"] if f"{path}/{n}" not in at]
    kinds = OF_DIRS.get(op, ANY_OF_DIRS)
    what = kinds[turn % len(kinds)]
    if what == "mode":
        at[path].mode ^= 0o50
    elif what == "less" and inside:
        remove(at, rnd.choice(inside))
    elif what == "name" and inside:
        move(at, rnd.choice(inside), f"{path}/{rnd.choice(free)}")
    elif what == "type":
        remove(at, path)
        at[path] = Node("file", a_text(rnd))
    elif what == "remove":
        remove(at, path)
    elif what == "deep" and deep:
        change_there(rnd, at, rnd.choice(deep), rnd.randrange(len(OF_FILES)))
    elif what == "kind" and inside:
        at_name = rnd.choice(inside)
        is_dir = at[at_name].kind == "dir"
        remove(at, at_name)
        at[at_name] = Node("file", "") if is_dir else Node("dir")
    elif what == "all":
        for p in deep:
            del at[p]
    else:
        at[f"{path}/{rnd.choice(free)}"] = rnd.choice([Node("file", ""), Node("dir")])


def change_there(rnd, at, path, turn, op=None):
    if path not in at:
        change_nothing_there(rnd, at, path)
    elif at[path].kind == "dir":
        change_dir(rnd, at, path, turn, op)
    else:
        {"file": change_file, "link": change_link}[at[path].kind](rnd, at, path, turn)


def move(at, a, b):
    for p in [a, *below(at, a)]:
        at[b + p[len(a):]] = at.pop(p)


def exchange(at, a, b):
    if b.startswith(a + "/") or a.startswith(b + "/"):
        return
    for one, other in ((a, "?"), (b, a), ("?", b)):
        if one in at:
            move(at, one, other)


def change_tops(rnd, w, top, turn):
    if top == NAME:
        w.moment = None if w.moment and turn % 3 == 2 else {"p0": Node("file", a_text(rnd))}
    elif top == EMPTY or (top == GOES and (top not in w.tops or turn % 2)):
        if w.tops.pop(top, None) is None:
            w.tops[top] = what_is_in(rnd, top)
    else:
        change_there(rnd, w.tops[top], "x", turn)


def change(rnd, w, step, turn):
    """Of what one step of a program is about, something else at each turn."""
    op, a, b = step
    path = rnd.choice([a, b]) if op in ("rename", "swap", "link", "copy", "if") else a
    top, path = w.split(path)
    if top == "R":
        change_tops(rnd, w, [GOES, NAME][turn % 2], turn | 1)
    elif top in (".", "T"):
        change_tops(rnd, w, EMPTY, turn)
    elif top != TOP:
        change_tops(rnd, w, top, turn)
    elif rnd.random() < 0.1:
        exchange(w.tops[TOP], path, os.path.join(os.path.dirname(path), "y"))
    else:
        change_there(rnd, w.tops[TOP], path, turn, op)


# ---- a mount becomes a world ----


def scan(top):
    """What is below a directory: (type and mode, text, number if it has several names)."""
    found = {}
    for at, dirs, files in os.walk(top):
        for name in dirs + files:
            full = os.path.join(at, name)
            st = os.lstat(full)
            if stat.S_ISLNK(st.st_mode):
                what = os.readlink(full)
            elif stat.S_ISDIR(st.st_mode):
                what = None
            else:
                with open(full, "rb") as f:
                    what = f.read()
            number = st.st_ino if what is not None and st.st_nlink > 1 else None
            found[os.path.relpath(full, top)] = (st.st_mode, what, number)
    return found


def tell(top):
    """The same as anybody may see it: which names are one file, not by which number."""
    found = scan(top)
    first = {}
    for path in sorted(found):
        first.setdefault(found[path][2], path)
    return {path: (mode, what, number and first[number])
            for path, (mode, what, number) in found.items()}


def wanted(node):
    kind = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "link": stat.S_IFLNK}[node.kind]
    return kind


def settle_files(top, at):
    there = scan(top)
    names = {}  # of each file that there is with several
    for path, (_, _, number) in there.items():
        names.setdefault(number, set()).add(path)
    for path in sorted(there, reverse=True):
        mode, what, number = there[path]
        node = at.get(path)
        is_one = number is None or node is None or \
            names[number] == {p for p in at if at[p] is node}
        is_one &= number is not None or node is None or node.kind != "file" or \
            sum(n is node for n in at.values()) == 1
        if node is None or stat.S_IFMT(mode) != wanted(node) or not is_one or \
                (node.kind == "link" and what != node.text):
            drop(os.path.join(top, path))
            del there[path]
    done = {}  # nodes that are there, and where
    for path in sorted(at):
        full = os.path.join(top, path)
        settle_file(full, at[path], there.get(path), done)
        done.setdefault(at[path], full)


def drop(full):
    if os.path.isdir(full) and not os.path.islink(full):
        shutil.rmtree(full)
    else:
        os.unlink(full)


def settle_file(full, node, was, done):
    if not was and node in done:
        os.link(done[node], full)
        return
    if not was and node.kind == "link":
        os.symlink(node.text, full)
    elif not was and node.kind == "dir":
        os.mkdir(full)
    elif node.kind == "file" and (not was or was[1] != node.text.encode()):
        with open(full, "w" if not was else "r+", encoding="ascii") as f:
            f.write(node.text)
            f.truncate()
    if node.kind != "link" and (not was or stat.S_IMODE(was[0]) != node.mode):
        os.chmod(full, node.mode)
    if node.kind == "file":
        os.utime(full, (1, 1))


def settle(root, w, commit):
    """@commit(path): commits the head there."""
    for top in TOPS:
        full = os.path.join(root, top)
        here = full if top == GOES else os.path.dirname(full)
        if top not in w.tops and os.path.exists(full):
            if top == GOES:
                commit(full)
            os.rmdir(here)
        elif top in w.tops and not os.path.exists(full):
            os.mkdir(here)
    settle_name(root, w)
    for top, at in w.tops.items():
        settle_files(os.path.join(root, top), at)


def settle_name(root, w):
    given = os.path.join(root, "R/commits/v")
    now = w.moment and {p: n.text.encode() for p, n in w.moment.items()}
    if os.path.isdir(given):
        if now == {p: what for p, (_, what, _) in scan(given).items()}:
            return
        os.rmdir(given)
    if now:
        settle_files(os.path.join(root, TOP), w.moment)
        os.mkdir(given)
