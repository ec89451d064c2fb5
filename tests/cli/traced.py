# SPDX-License-Identifier: GPL-3.0-or-later
"""What a system-call trace says that a program read, looked for, listed and wrote in a directory.

strace's lines are played against a model of the directory as it was before, so that what the
program made, moved or removed itself is known as its own. The rules, which are those of
store/run/RUNS.md, section 3, in terms of system calls:

- A call with a path looks up each name on its way, up to the first that is missing; links that it
  goes through are gone through name by name as well. What it looks up in what is the run's own, or
  under a name that the run has made, is no observation.
- A file is read by a call that transfers at least a byte from it (read, copy_file_range, sendfile
  and their kin), by execve, and by a mapping that may be read (whether it is touched is not in a
  trace; these programs do touch what they map). An empty one is read by open with a right to read.
  Not once it has been truncated: nothing of the commit shows then.
- A directory is listed by getdents64, and seen whole when it is renamed.
- A file is written by a call that changes its bytes or its attributes, or the number of its names.
"""

import os
import re

CALLS = ("%file,read,readv,pread64,preadv,preadv2,mmap,getdents64,sendfile,copy_file_range,splice,"
         "write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,fchmod,fchown,fsetxattr,"
         "fremovexattr,fchdir,fork,vfork,clone,clone3")

READS = {"read", "readv", "pread64", "preadv", "preadv2"}
WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2"}
CHANGES = {"ftruncate", "fallocate", "fchmod", "fchown", "fsetxattr", "fremovexattr"}
FOLLOWING = {"stat", "access", "chmod", "chown", "utime", "utimes", "truncate", "getxattr",
             "setxattr", "listxattr", "removexattr", "statfs", "chdir", "execve"}
NOT_FOLLOWING = {"lstat", "readlink", "lchown", "lgetxattr", "lsetxattr", "llistxattr",
                 "lremovexattr"}
AT = {"newfstatat", "statx", "faccessat", "faccessat2", "fchmodat", "fchownat", "utimensat",
      "readlinkat"}
CHANGING = {"chmod", "chown", "utime", "utimes", "truncate", "setxattr", "removexattr", "lchown",
            "lsetxattr", "lremovexattr", "fchmodat", "fchownat", "utimensat"}
WITHOUT_PATHS = {"getcwd", "umask"}
LINKS_MAX = 40


class Node:
    """A file, link or directory. @place: the name it was found by first, if a commit has it."""

    def __init__(self, kind, parent=None, is_pinned=False, size=0, target=None):
        self.kind, self.parent, self.is_pinned = kind, parent, is_pinned
        self.size, self.target = size, target
        self.entries = {} if kind == "d" else None
        self.place = None
        self.shows = is_pinned
        self.is_changed = False


class Trace:
    """The model, before and after; and what was noted: paths below @top."""

    def __init__(self, top):
        self.top = os.fspath(top)
        self.root = Node("d", is_pinned=True)
        self.root.place = ""
        self.read, self.listed, self.whole = set(), set(), set()
        self.looked = {}
        self.gone = {}
        self.cwds = {}
        self.before = {}
        self.load(self.top, self.root, "", {})

    def load(self, where, into, path, by_number):
        with os.scandir(where) as found:
            for e in found:
                st = e.stat(follow_symlinks=False)
                kind = "l" if e.is_symlink() else "d" if e.is_dir(follow_symlinks=False) else "f"
                node = by_number.get(st.st_ino) if kind == "f" else None
                if not node:
                    target = os.readlink(e.path) if kind == "l" else None
                    node = Node(kind, into, True, st.st_size, target)
                    by_number[st.st_ino] = node
                into.entries[e.name] = node
                own = os.path.join(path, e.name)
                self.before[own] = node
                if kind == "d":
                    self.load(e.path, node, own, by_number)

    # ---- walking ----

    def look(self, at, name):
        """The entry of a directory, noted."""
        found = at.entries.get(name)
        if at.place is None:
            return found
        place = os.path.join(at.place, name)
        if found and found.is_pinned and found.place is None:
            found.place = place
        if place not in self.looked:
            self.looked[place] = "present" if place in self.before else "absent"
        return found

    def walk(self, at, path, follow=True, links=0):
        """(directory, name, node) at the end of a path; the first two None where it has no name of
        its own, all None outside of the top or where it ends early. @at: a node, or a path."""
        if path.startswith("/"):
            at = "/"
        names = [n for n in path.split("/") if n not in ("", ".")]
        slash = path.endswith(("/", "/."))
        last = None, None, at if isinstance(at, Node) else None
        while names:
            name = names.pop(0)
            if not isinstance(at, Node):
                at = os.path.normpath(os.path.join(at, name))
                if at == self.top:
                    at = self.root
                last = None, None, at if isinstance(at, Node) else None
                continue
            if at.kind != "d":
                return None, None, None
            if name == "..":
                at = at.parent or os.path.dirname(self.top)
                last = None, None, at if isinstance(at, Node) else None
                continue
            node = self.look(at, name)
            if node and node.kind == "l" and (names or follow or slash):
                assert links < LINKS_MAX
                rest = "/".join([node.target, *names]) + ("/" if slash else "")
                return self.walk(at, rest, follow, links + 1)
            last = at, name, node
            if not node:
                return last if not names else (None, None, None)
            at = node
        return last

    def of_fd(self, text):
        """The node behind a descriptor, as strace -y shows it: its name now, which is not looked
        up."""
        m = re.match(r"-?\w+<(.*?)>(\(deleted\))?$", text)
        if not m or not (m[1] + "/").startswith(self.top + "/"):
            return None
        path = m[1][len(self.top) + 1:]
        if m[2]:
            return self.gone.get(path)
        at = self.root
        for name in path.split("/") if path else []:
            at = at.entries.get(name) if at and at.kind == "d" else None
        return at

    def base(self, pid, text):
        """What a path of this process is relative to: a node, or a path outside."""
        if text is None:
            return self.cwds.get(pid, self.root)
        inside = self.of_fd(text)
        if inside:
            return inside
        m = re.match(r"\w+<(.*)>$", text)
        return m[1] if m else self.cwds.get(pid, self.root)

    # ---- what calls do ----

    def saw_read(self, node):
        if node and node.kind == "f" and node.is_pinned and node.shows:
            self.read.add(node.place)

    @staticmethod
    def changed(node):
        if node:
            node.is_changed = True

    def remove(self, at, name):
        node = at.entries.pop(name)
        self.gone[self.path(at, name)] = node
        self.changed(node)

    def path(self, at, name):
        parts = [name]
        while at.parent:
            parts.append(next(n for n, x in at.parent.entries.items() if x is at))
            at = at.parent
        return "/".join(reversed(parts))

    def put(self, at, name, node):
        if at.entries.get(name) not in (None, node):
            self.remove(at, name)
        at.entries[name] = node
        if node.kind == "d":
            node.parent = at

    def open(self, base, path, flags, failed):
        exclusive = "O_CREAT" in flags and "O_EXCL" in flags
        at, name, node = self.walk(base, path, "O_NOFOLLOW" not in flags and not exclusive)
        if failed:
            return
        if not node and at and "O_CREAT" in flags:
            node = Node("f")
            self.put(at, name, node)
        if not node or node.kind != "f":
            return
        if "O_TRUNC" in flags:
            node.shows = False
            self.changed(node)
        elif "O_WRONLY" not in flags and "O_PATH" not in flags and node.size == 0 and \
                not node.is_changed:
            self.saw_read(node)

    def rename(self, a, b, flags, failed):
        at, name, node = self.walk(*a, follow=False)
        to, new_name, other = self.walk(*b, follow=False)
        if failed or not node or not to or node is other:
            return
        if node.kind == "d" and node.place is not None:
            self.whole.add(node.place)
        if "RENAME_EXCHANGE" in flags:
            at.entries[name], to.entries[new_name] = other, node
            return
        del at.entries[name]
        self.gone[self.path(at, name)] = node
        self.changed(node)
        self.put(to, new_name, node)

    def make(self, base, path, kind, failed, target=None):
        at, name, node = self.walk(base, path, follow=False)
        if not failed and at and not node:
            self.put(at, name, Node(kind, at, target=target))

    def drop(self, base, path, failed):
        at, name, node = self.walk(base, path, follow=False)
        if not failed and at and node:
            self.remove(at, name)

    def link(self, a, b, follow, failed):
        _, _, node = self.walk(*a, follow=follow)
        to, name, _ = self.walk(*b, follow=False)
        if not failed and node and to:
            self.changed(node)
            self.put(to, name, node)

    def call(self, pid, call, args, result):
        failed = result.startswith("-1")
        count = int(re.match(r"-?\d+", result)[0]) if re.match(r"-?\d+", result) else 0
        here = self.base(pid, None)

        def path(i):
            return unquoted(args[i])

        def at(i):
            return self.base(pid, args[i]), path(i + 1)

        if call in READS:
            if count > 0:
                self.saw_read(self.of_fd(args[0]))
        elif call in WRITES:
            if count > 0:
                self.changed(self.of_fd(args[0]))
        elif call in CHANGES:
            node = self.of_fd(args[0])
            if node and not failed:
                self.changed(node)
                if call == "ftruncate" and args[1] == "0":
                    node.shows = False
        elif call in ("copy_file_range", "splice", "sendfile"):
            source, target = (1, 0) if call == "sendfile" else (0, 2)
            if count > 0:
                self.saw_read(self.of_fd(args[source]))
                self.changed(self.of_fd(args[target]))
        elif call == "mmap":
            node = self.of_fd(args[4])
            if node and not failed and "PROT_READ" in args[2]:
                self.saw_read(node)
            if node and not failed and "PROT_WRITE" in args[2] and "MAP_SHARED" in args[3]:
                self.changed(node)
        elif call == "getdents64":
            node = self.of_fd(args[0])
            if node and node.place is not None:
                self.listed.add(node.place)
        elif call == "fchdir":
            if not failed:
                self.cwds[pid] = self.base(pid, args[0])
        elif call == "open":
            self.open(here, path(0), args[1], failed)
        elif call == "creat":
            self.open(here, path(0), "O_CREAT|O_TRUNC|O_WRONLY", failed)
        elif call in ("openat", "openat2"):
            self.open(*at(0), args[2], failed)
        elif call == "rename":
            self.rename((here, path(0)), (here, path(1)), "", failed)
        elif call in ("renameat", "renameat2"):
            self.rename(at(0), at(2), args[4] if len(args) > 4 else "", failed)
        elif call == "mkdir":
            self.make(here, path(0), "d", failed)
        elif call == "mkdirat":
            self.make(*at(0), "d", failed)
        elif call == "mknodat":
            self.make(*at(0), "f", failed)
        elif call == "symlink":
            self.make(here, path(1), "l", failed, path(0))
        elif call == "symlinkat":
            self.make(*at(1), "l", failed, path(0))
        elif call in ("unlink", "rmdir"):
            self.drop(here, path(0), failed)
        elif call == "unlinkat":
            self.drop(*at(0), failed)
        elif call == "link":
            self.link((here, path(0)), (here, path(1)), False, failed)
        elif call == "linkat":
            self.link(at(0), at(2), "AT_SYMLINK_FOLLOW" in args[4], failed)
        elif call in AT:
            if args[1] == "NULL" or path(1) == "":
                node = self.of_fd(args[0])
            else:
                follow = call != "readlinkat" and "NOFOLLOW" not in ",".join(args[2:])
                _, _, node = self.walk(*at(0), follow=follow)
            if call in CHANGING and not failed:
                self.changed(node)
        elif call in FOLLOWING or call in NOT_FOLLOWING:
            where = here
            _, _, node = self.walk(where, path(0), follow=call in FOLLOWING)
            if call == "execve" and not failed:
                self.saw_read(node)
            if call == "chdir" and not failed:
                self.cwds[pid] = node or os.path.normpath(
                    os.path.join(where if isinstance(where, str) else self.top, path(0)))
            if call in CHANGING and not failed:
                self.changed(node)
        else:
            assert call in WITHOUT_PATHS or "clone" in call or "fork" in call, \
                "the model does not know " + call

    # ---- the whole ----

    def play(self, text):
        parents, lines = lines_of(text)
        for pid, call, args, result in lines:
            if pid not in self.cwds and pid in parents:
                self.cwds[pid] = self.cwds.get(parents[pid], self.root)
            self.call(pid, call, args, result)

    def written(self):
        """{path: kind, or "absent"} of what differs; directories that were there and are apart, as
        are names in a directory that is gone."""
        after, found = {}, {}

        def collect(node, path):
            for name, x in node.entries.items():
                own = os.path.join(path, name)
                after[own] = x
                if x.kind == "d":
                    collect(x, own)
        collect(self.root, "")
        for path, node in after.items():
            old = self.before.get(path)
            if old and old.kind == node.kind == "d":
                continue
            if old is not node or node.is_changed:
                found[path] = node.kind
        for path in self.before:
            above = os.path.dirname(path)
            if path not in after and (not above or above in after and after[above].kind == "d"):
                found[path] = "absent"
        return found


# ---- strace's lines ----

def unquoted(text):
    assert text[:1] == '"' and text.endswith('"'), text
    return text[1:-1].encode().decode("unicode_escape").encode("latin-1").decode()


def split(text):
    """The arguments of a call."""
    parts, depth, quoted, at, i = [], 0, False, 0, 0
    while i < len(text):
        x = text[i]
        if quoted:
            i += x == "\\"
            quoted = x != '"'
        elif x == '"':
            quoted = True
        elif x in "([{<":
            depth += 1
        elif x in ")]}>" and text[i - 1:i + 1] not in ("=>", "->"):
            depth -= 1
        elif x == "," and depth == 0:
            parts.append(text[at:i].strip())
            at = i + 1
        i += 1
    return parts + [text[at:].strip()]


def lines_of(text):
    """Each process's parent, and (process, call, arguments, result) as calls ended."""
    begun, parents, lines = {}, {}, []
    for line in text.splitlines():
        pid, rest = line.split(None, 1)
        m = re.match(r"<\.\.\. \w+ resumed>(.*)", rest)
        if m:
            rest = begun.pop(pid) + m[1]
        if rest.endswith("<unfinished ...>"):
            begun[pid] = rest[:-len("<unfinished ...>")]
            continue
        m = re.match(r"(\w+)\((.*)\)\s+= (.*)$", rest)
        if not m:
            assert re.match(r"\+\+\+|---", rest) or rest.endswith("= ?"), rest
            continue
        call, args, result = m.groups()
        if call in ("fork", "vfork", "clone", "clone3") and result.isdigit():
            parents[result] = pid
        lines.append((pid, call, split(args), result))
    return parents, lines
