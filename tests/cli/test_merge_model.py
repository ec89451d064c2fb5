# SPDX-License-Identifier: GPL-3.0-or-later
"""Random trees, changed on two branches and merged, against the rules in plain Python.

The model is written from store/merge/RULES.md, not from the code. A tree is {name: entry}: a
directory ("d", mode, tree) or a file ("f", id); files are {id: (text, mode)}. Of a file that never had
a second name only what it is counts. One that got its second name after the sides parted is another
file on each.
"""

import copy
import os
import random

import pytest

from conftest import can_mount

pytestmark = can_mount

ROUNDS = 120 if os.environ.get("PFS_LONG") else 20


class Side:
    """A tree on disk, and what the model has of it."""

    def __init__(self, root, tree=None, files=None, linked=()):
        self.root, self.tree = root, tree if tree is not None else {}
        self.files, self.linked = files if files is not None else {}, set(linked)

    def branched(self, root):
        return Side(root, copy.deepcopy(self.tree), dict(self.files), self.linked)

    def dirs(self):
        found, todo = [], [((), self.tree)]
        while todo:
            path, tree = todo.pop()
            found.append((path, tree))
            todo += [(path + (n,), e[2]) for n, e in sorted(tree.items()) if e[0] == "d"]
        return sorted(found, key=lambda x: x[0])

    def names(self):
        return [(path, tree, n) for path, tree in self.dirs() for n in sorted(tree)]

    def rename_links(self, known):
        """Gives files that were linked here ids that the other side does not have."""
        fresh = {i: (self.root, i) for i in self.linked - known}
        self.linked = {fresh.get(i, i) for i in self.linked}
        for i, other in fresh.items():
            self.files[other] = self.files[i]
        for _, tree, n in self.names():
            if tree[n][0] == "f":
                tree[n] = ("f", fresh.get(tree[n][1], tree[n][1]))

    def at(self, path, *more):
        return os.path.join(self.root, *path, *more)


def change(side, rng, fresh):
    """One random operation, on disk and in the model."""
    path, tree = rng.choice(side.dirs())
    name = rng.choice("abcdef")
    entry = tree.get(name)
    kind = rng.choice(["write"] * 5 + ["remove"] * 3 + ["mkdir", "mkdir", "link", "link", "rename",
                                                        "chmod", "chmod", "replace"])
    if kind == "write" and (entry is None or entry[0] == "f"):
        text = rng.choice("xyz")
        # Truncated and written: the same file, whatever its names.
        with open(side.at(path, name), "w", encoding="utf-8") as f:
            f.write(text)
        if entry is None:
            tree[name] = entry = ("f", next(fresh))
            side.files[entry[1]] = (text, 0o644)
        side.files[entry[1]] = (text, side.files[entry[1]][1])
    elif kind == "replace" and (entry is None or entry[0] == "f"):
        with open(side.at(path, ".new"), "w", encoding="utf-8") as f:
            f.write("r")
        os.rename(side.at(path, ".new"), side.at(path, name))
        tree[name] = ("f", next(fresh))
        side.files[tree[name][1]] = ("r", 0o644)
    elif kind == "mkdir" and entry is None and len(path) < 3:
        os.mkdir(side.at(path, name))
        tree[name] = ("d", 0o755, {})
    elif kind == "remove" and entry:
        remove(side.at(path, name))
        del tree[name]
    elif kind == "link" and entry is None:
        files = [(p, t, n) for p, t, n in side.names() if t[n][0] == "f"]
        if files:
            p, t, n = rng.choice(files)
            os.link(side.at(p, n), side.at(path, name))
            tree[name] = t[n]
            side.linked.add(t[n][1])
    elif kind == "rename" and entry is None:
        p, t, n = rng.choice(side.names() or [(None, None, None)])
        if p is not None and path[:len(p) + 1] != p + (n,):
            os.rename(side.at(p, n), side.at(path, name))
            tree[name] = t.pop(n)
    elif kind == "chmod" and entry:
        mode = rng.choice([0o700, 0o750, 0o711])
        os.chmod(side.at(path, name), mode)
        if entry[0] == "d":
            tree[name] = ("d", mode, entry[2])
        else:
            side.files[entry[1]] = (side.files[entry[1]][0], mode)


def remove(path):
    if os.path.isdir(path):
        for n in os.listdir(path):
            remove(os.path.join(path, n))
        os.rmdir(path)
    else:
        os.unlink(path)


class Merge:
    def __init__(self, o, a, b, prefer):
        self.o, self.a, self.b, self.prefer = o, a, b, prefer
        self.conflicts, self.changed = [], {}
        self.links = {}  # what is the matter with a link: "we-deleted", ...
        for i in a.linked | b.linked:
            was, ours, theirs = (self.record(s, i) for s in (o, a, b))
            if ours is None and theirs is not None and was not in (None, theirs):
                self.links[i] = "we-deleted"
            elif theirs is None and ours is not None and was not in (None, ours):
                self.links[i] = "they-deleted"
            elif None not in (ours, theirs) and ours != theirs and was not in (ours, theirs):
                self.links[i] = "both-changed"

    @staticmethod
    def named(side):
        return {t[n][1] for _, t, n in side.names() if t[n][0] == "f"}

    def record(self, side, i):
        return side.files[i] if i in side.linked and i in self.named(side) else None

    def value(self, side, entry):
        """(link or None, what it is); directories as they are."""
        if entry is None or entry[0] == "d":
            return entry
        return (entry[1] if entry[1] in side.linked else None, side.files[entry[1]])

    def conflict(self, path, what):
        self.conflicts.append(("/".join(path), what))

    def take(self, path, what, ours, theirs):
        self.conflict(path, what)
        return ours if self.prefer == "ours" else theirs

    def name(self, path, eo, ea, eb):
        """What becomes of a name: ("a"|"b", entry) or None; or a directory."""
        o, a, b = self.value(self.o, eo), self.value(self.a, ea), self.value(self.b, eb)
        is_dir = [e is not None and e[0] == "d" for e in (o, a, b)]
        ours, theirs = ea and ("a", ea), eb and ("b", eb)
        if self.flat(self.a, ea) == self.flat(self.b, eb):
            return theirs
        if not any(is_dir):
            for x, y, what in (a, b, "we-deleted"), (b, a, "they-deleted"):
                if o and o[0] is not None and y and y[0] == o[0] and \
                        not (x and x[0] == o[0]) and self.links.get(o[0]) == what:
                    return self.take(path, what, ours, theirs)
        if is_dir[1] and is_dir[2] or is_dir[0] and (is_dir[1] and b is None or
                                                     is_dir[2] and a is None):
            return self.directory(path, eo if is_dir[0] else None, ea, eb)
        if is_dir[1] or is_dir[2]:
            whole = [self.flat(s, e) for s, e in ((self.o, eo), (self.a, ea), (self.b, eb))]
            if is_dir[0] and (whole[0] == whole[1] and self.is_contested(eo, "they-deleted") or
                              whole[0] == whole[2] and self.is_contested(eo, "we-deleted")):
                return self.take(path, "types-differ", ours, theirs)
            if whole[0] == whole[1]:
                return theirs
            if whole[0] == whole[2]:
                return ours
            if a is None or b is None:
                return self.take(path, "we-deleted" if a is None else "they-deleted", ours, theirs)
            return self.take(path, "types-differ", ours, theirs)
        return self.file(path, o if not is_dir[0] else ("was", "dir"), a, b, ours, theirs)

    def is_contested(self, entry, what):
        if entry[0] == "f":
            return self.links.get(entry[1]) == what
        return any(self.is_contested(e, what) for e in entry[2].values())

    def flat(self, side, entry):
        """An entry with all below it, to be compared."""
        if entry is None or entry[0] == "f":
            what = self.value(side, entry)
            return what if what is None or what[0] is None else what[0]
        return entry[1], {n: self.flat(side, e) for n, e in entry[2].items()}

    def file(self, path, o, a, b, ours, theirs):
        same = {"oa": (o and o[0]) == (a and a[0]) and (o is None) == (a is None) and
                      (o is None or o[0] is not None or o == a),
                "ob": (o and o[0]) == (b and b[0]) and (o is None) == (b is None) and
                      (o is None or o[0] is not None or o == b)}
        if same["oa"]:
            return theirs
        if same["ob"]:
            return ours
        if a is None:
            return None if o and o[1] == b[1] else self.take(path, "we-deleted", ours, theirs)
        if b is None:
            return None if o and o[1] == a[1] else self.take(path, "they-deleted", ours, theirs)
        lo, la, lb = o and o[0], a[0], b[0]
        vo, va, vb = o and o[1], a[1], b[1]
        both = "both-changed" if o else "both-added"
        if la == lb:
            return theirs if va in (vb, vo) else ours if vb == vo else \
                self.take(path, both, ours, theirs)
        if lo == la:
            if vo == va or va == vb:
                return theirs
            if vo == vb and self.may_become(lb, va, self.a):
                return theirs
        elif lo == lb:
            if vo == vb or va == vb:
                return ours
            if vo == va and self.may_become(la, vb, self.b):
                return ours
        return self.take(path, both, ours, theirs)

    def may_become(self, link, value, side):
        """A link that the other side made is what one of its names was changed to, once."""
        if self.record(self.o, link) or self.record(side, link):
            return False
        return self.changed.setdefault(link, value) == value

    def directory(self, path, eo, ea, eb):
        trees = [e[2] if e and e[0] == "d" else {} for e in (eo, ea, eb)]
        here = len(self.conflicts)
        made = {}
        for n in sorted(set().union(*trees)):
            got = self.name(path + (n,), *(t.get(n) for t in trees))
            if got is not None:
                made[n] = got
        modes = [e[1] if e else None for e in (eo, ea, eb)]
        below = self.conflicts[here:]
        if modes[1] is None or modes[2] is None:
            left = modes[1] if modes[2] is None else modes[2]
            stays = bool(made)
            # With a conflict below, what stays is a question of the preference.
            if not stays and left != modes[0] and not (below and self.prefer is None):
                what = "we-deleted" if modes[1] is None else "they-deleted"
                self.conflict(path, what)
                stays = (self.prefer == "ours") == (modes[2] is None)
            return ("d", left, made) if stays else None
        mode = modes[2]
        if modes[1] != modes[2] and modes[0] == modes[2]:
            mode = modes[1]
        elif modes[1] != modes[2] and modes[0] != modes[1]:
            self.conflict(path, "attributes-differ")
            mode = modes[1] if self.prefer == "ours" else modes[2]
        return ("d", mode, made)

    def run(self):
        root = self.directory((), ("d", 0, self.o.tree), ("d", 0, self.a.tree),
                              ("d", 0, self.b.tree))
        for path, tree, n in self.a.names():
            if tree[n][0] == "f" and self.links.get(tree[n][1]) == "both-changed":
                self.conflict(path + (n,), "both-changed")
        return root[2]

    def content(self, which, entry):
        """(link or None, text, mode) of a file of the result."""
        i = entry[1]
        side, other = (self.a, self.b) if which == "a" else (self.b, self.a)
        if i not in side.linked:
            return (None,) + side.files[i]
        if i in self.changed:
            return (i,) + self.changed[i]
        ours, theirs = self.record(self.a, i), self.record(self.b, i)
        if ours is None or theirs is None:
            return (i,) + (ours or theirs)
        if self.links.get(i) == "both-changed":
            return (i,) + (ours if self.prefer == "ours" else theirs)
        was = self.record(self.o, i)
        return (i,) + (theirs if ours == was or ours == theirs else ours)

    def listing(self, tree, path=()):
        """{path: what is there}, links as the set of all their names."""
        found, links = {}, {}
        todo = [(path, tree)]
        while todo:
            path, tree = todo.pop()
            for n, e in tree.items():
                where = "/".join(path + (n,))
                if e[0] == "d":
                    found[where] = ("d", e[1])
                    todo.append((path + (n,), e[2]))
                elif e[1][0] == "d":
                    # Taken whole from one side.
                    found[where] = ("d", e[1][1])
                    todo.append((path + (n,), {k: (e[0], v) for k, v in e[1][2].items()}))
                else:
                    link, text, mode = self.content(*e)
                    found[where] = ("f", text, mode)
                    if link is not None:
                        links.setdefault(link, set()).add(where)
        for where in links.values():
            for n in where:
                found[n] += (frozenset(where),) if len(where) > 1 else ()
        return found


def on_disk(root):
    found, links = {}, {}
    for path, dirs, files in os.walk(root):
        for n in dirs + files:
            where = os.path.relpath(os.path.join(path, n), root)
            st = os.lstat(os.path.join(path, n))
            if n in dirs:
                found[where] = ("d", st.st_mode & 0o7777)
            else:
                with open(os.path.join(path, n), encoding="utf-8") as f:
                    found[where] = ("f", f.read(), st.st_mode & 0o7777)
                links.setdefault(st.st_ino, (set(), st.st_nlink))[0].add(where)
    for where, count in links.values():
        assert len(where) == count, (where, count)
        for n in where:
            found[n] += (frozenset(where),) if count > 1 else ()
    return found


@pytest.mark.parametrize("batch", range(4))
def test_random_trees_are_merged_by_the_rules(shell, mount, batch):
    agreed = conflicted = 0
    for seed in range(batch * ROUNDS, (batch + 1) * ROUNDS):
        rng, fresh = random.Random(seed), iter(range(1, 1 << 30))
        repo = mount / f"R{seed}"
        os.mkdir(repo)
        base = Side(str(repo / "main"))
        for _ in range(rng.randint(4, 40)):
            change(base, rng, fresh)
        shell.ok("commit", repo / "main")
        os.mkdir(repo / "side")
        ours, theirs = base.branched(str(repo / "side")), base.branched(str(repo / "main"))
        for side in ours, theirs:
            for _ in range(rng.randint(1, 12)):
                change(side, rng, fresh)
            shell.ok("commit", side.root)
            side.rename_links(base.linked)
        model = Merge(base, ours, theirs, None)
        tree = model.run()
        done = shell.run("merge", "--json", "side", "--into", repo / "main")
        if model.conflicts:
            conflicted += 1
            said = sorted((c["path"], c["conflict"]) for c in done.json()["names"])
            assert done.code == 3 and said == sorted(model.conflicts), seed
            prefer = rng.choice(["ours", "theirs"])
            model = Merge(base, ours, theirs, prefer)
            tree = model.run()
            shell.ok("merge", f"--{prefer}", "side", "--into", repo / "main")
        else:
            agreed += 1
            assert done.code == 0, (seed, done.err, done.out)
        shell.ok("sync", repo / "main")
        assert on_disk(repo / "main") == model.listing(tree), seed
    assert agreed > ROUNDS // 8 and conflicted > ROUNDS // 8
