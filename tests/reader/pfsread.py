#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reader of stores, made from store/FORMAT.md alone: the referee of the format.

It shares nothing with the C code and has no wish to be fast. Whatever it reads it holds against
every id, checksum and rule of the document (whose sections the comments name), and what breaks one
is Damaged.

    pfsread.py STORE ls REPO/REV[/PATH]         one line of JSON for each name below
    pfsread.py STORE cat REPO/REV/PATH
    pfsread.py STORE extract REPO/REV[/PATH] DEST
    pfsread.py STORE check REPO/REV             the commit whole, chunks' boundaries too
    pfsread.py STORE packs                      every pack, frame by frame, and its footer

--hints: locations are taken from hints alone; --footers: from the packs' footers alone.
"""
import argparse
import collections
import hashlib
import json
import os
import pathlib
import re
import stat
import struct
import sys

import xxhash
import zstandard

CHUNK, NODE, COMMIT = 1, 2, 3  # 4
TAGS = {CHUNK: b"pfschunk", NODE: b"pfs-node", COMMIT: b"pfscommt"}
DIR_TREE, LINKS_TREE, EXTENTS_TREE = 1, 2, 3  # 7
REG, DIRECTORY, SYMLINK, FIFO, CHARDEV, BLOCKDEV, SOCKET = range(1, 8)  # 8.1
TYPES = {REG: "file", DIRECTORY: "dir", SYMLINK: "symlink", FIFO: "fifo",
         CHARDEV: "char", BLOCKDEV: "block", SOCKET: "socket"}
IFMT = {REG: stat.S_IFREG, FIFO: stat.S_IFIFO, CHARDEV: stat.S_IFCHR,
        BLOCKDEV: stat.S_IFBLK, SOCKET: stat.S_IFSOCK}
NULL_OID, NULL_ID = bytes(32), bytes(16)
TOP = 2**64 - 1
KIB, MIB = 1 << 10, 1 << 20


class Damaged(Exception):
    """Something that the document does not allow."""


def require(claim, what):
    if not claim:
        raise Damaged(what)


def xxh(data, seed=0):
    return xxhash.xxh3_64_intdigest(data, seed=seed)


def oid(kind, data):
    return hashlib.sha256(TAGS[kind] + data).digest()


EMPTY_CHUNK = oid(CHUNK, b"")


class Cursor:
    """Integers and strings from bytes (1)."""

    def __init__(self, data, what):
        self.data, self.at, self.what = data, 0, what

    def take(self, n):
        require(self.at + n <= len(self.data), f"{self.what}: ends too early")
        self.at += n
        return self.data[self.at - n:self.at]

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return int.from_bytes(self.take(2), "little")

    def u32(self):
        return int.from_bytes(self.take(4), "little")

    def u64(self):
        return int.from_bytes(self.take(8), "little")

    def i64(self):
        return int.from_bytes(self.take(8), "little", signed=True)

    def time(self):
        sec, nsec = self.i64(), self.u32()
        require(nsec < 10**9, f"{self.what}: a billion nanoseconds or more")
        return sec * 10**9 + nsec

    def limited(self, n, limit):
        require(n <= limit, f"{self.what}: a length of {n}, over {limit}")
        return self.take(n)

    def str8(self, limit=255):
        return self.limited(self.u8(), limit)

    def str16(self, limit=65535):
        return self.limited(self.u16(), limit)

    def str32(self, limit):
        return self.limited(self.u32(), limit)

    def text8(self, limit=255):
        s = self.str8(limit)
        require(0 not in s, f"{self.what}: a NUL in a string")
        return s.decode("utf-8", "surrogateescape")

    def zero(self, n):
        require(not any(self.take(n)), f"{self.what}: reserved bytes are not 0")

    def head(self, magic):
        require(self.take(4) == magic, f"{self.what}: not {magic.decode()}")
        require(self.u16() == 1, f"{self.what}: an unknown version")
        require(self.u16() == 0, f"{self.what}: unknown flags")

    def end(self):
        require(self.at == len(self.data), f"{self.what}: bytes are left over")

    def checksum(self):
        at = self.at
        require(self.u64() == xxh(self.data[:at]), f"{self.what}: its checksum is wrong")
        self.end()


class Loc(collections.namedtuple("Loc", "pack offset frame_len item")):
    pass


# 5. Packs

def parse_frame_header(c):
    c.head(b"pfsr")
    codec, cipher, count = c.u8(), c.u8(), c.u16()
    raw_len, stored_len = c.u32(), c.u32()
    c.zero(4)
    require(codec <= 1 and cipher == 0, f"{c.what}: unknown codec or cipher")
    require(1 <= count <= 4096, f"{c.what}: {count} items")
    require(raw_len <= 16 * MIB + 64 * KIB, f"{c.what}: too many bytes")
    items = [(c.u8(), c.u32(), c.take(32)) for _ in range(count)]
    for kind, length, _ in items:
        require(kind in (CHUNK, NODE) and length > 0, f"{c.what}: an item of no kind or length")
    require(sum(i[1] for i in items) == raw_len, f"{c.what}: items do not sum to its length")
    require(stored_len == raw_len if codec == 0 else stored_len < raw_len,
            f"{c.what}: stored as {stored_len} of {raw_len} bytes")
    at = c.at
    require(c.u64() == xxh(c.data[:at]), f"{c.what}: its checksum is wrong")
    return codec, items, raw_len, stored_len


def frame_payload(codec, payload, raw_len, what):
    if codec == 0:
        return payload
    d = zstandard.ZstdDecompressor().decompressobj()
    try:
        require(zstandard.get_frame_parameters(payload).content_size in (raw_len, 2**64 - 1),
                f"{what}: its zstd frame has another length")
        raw = d.decompress(payload)
    except zstandard.ZstdError as e:
        raise Damaged(f"{what}: {e}") from e
    require(d.unused_data == b"", f"{what}: more than one zstd frame")
    require(len(raw) == raw_len, f"{what}: decompresses to another length")
    return raw


def split_node(item, what):
    c = Cursor(item, what)
    canon = c.take(c.u32())
    hint = item[c.at:]
    require(len(hint) <= MIB, f"{what}: a hint part of {len(hint)} bytes")
    return canon, hint


class Pack:
    def __init__(self, path):
        self.file = open(path, "rb")
        self.what = f"pack {path.name}"
        self.size = os.fstat(self.file.fileno()).st_size
        self.name = bytes.fromhex(path.name)
        require(path.parent.name == path.name[:2], f"{self.what}: under a wrong prefix")
        c = Cursor(self.read(0, 32), self.what)
        c.head(b"pfsP")
        require(c.take(16) == self.name, f"{self.what}: has another name inside")
        c.zero(8)

    def read(self, at, n):
        data = os.pread(self.file.fileno(), n, at)
        require(len(data) == n, f"{self.what}: ends too early")
        return data

    def frame(self, offset):
        """A frame's length and its items, held against their ids."""
        what = f"{self.what}, frame at {offset}"
        count = int.from_bytes(self.read(offset + 10, 2), "little")
        header_len = 24 + 37 * count + 8
        codec, items, raw_len, stored_len = parse_frame_header(
            Cursor(self.read(offset, header_len), what))
        raw = frame_payload(codec, self.read(offset + header_len, stored_len), raw_len, what)
        out, at = [], 0
        for kind, length, the_id in items:
            item = raw[at:at + length]
            at += length
            canon = item if kind == CHUNK else split_node(item, what)[0]
            require(oid(kind, canon) == the_id, f"{what}: an item does not match its id")
            out.append((kind, the_id, item))
        return header_len + stored_len, out

    def footer(self):
        trailer = self.read(self.size - 48, 48)
        c = Cursor(trailer, f"{self.what}, trailer")
        footer_off, count = c.u64(), c.u32()
        c.zero(4)
        require(c.take(16) == self.name, f"{self.what}: another name in its trailer")
        checksum = c.u64()
        c.head(b"pfsE")
        require(32 <= footer_off and footer_off + 48 * count + 48 == self.size,
                f"{self.what}: its footer does not fit")
        require(count <= (footer_off - 32) // 37, f"{self.what}: too many entries")
        require(footer_off - 32 <= 32 * MIB + 16 * MIB + 64 * KIB + 256 * KIB,
                f"{self.what}: too long")
        body = self.read(footer_off, 48 * count)
        require(xxh(body + trailer[:32]) == checksum, f"{self.what}: footer's checksum is wrong")
        c = Cursor(body, f"{self.what}, footer")
        entries, last = [], None
        for _ in range(count):
            the_id, offset, frame_len = c.take(32), c.u32(), c.u32()
            item, kind = c.u16(), c.u8()
            c.zero(1)
            length = c.u32()
            require(last is None or last < the_id, f"{self.what}: footer out of order")
            last = the_id
            entries.append((the_id, kind, length, Loc(self.name, offset, frame_len, item)))
        return footer_off, entries

    def check(self):
        """Frame by frame, without the footer; then the footer against that."""
        footer_off, entries = self.footer()
        at, seen = 32, {}
        while at < footer_off:
            length, items = self.frame(at)
            for i, (kind, the_id, item) in enumerate(items):
                seen.setdefault(the_id, (the_id, kind, len(item), Loc(self.name, at, length, i)))
            at += length
        require(at == footer_off, f"{self.what}: frames run into the footer")
        require(entries == sorted(seen.values()), f"{self.what}: its footer tells other things")
        return len(entries)


class Store:
    """Objects by key (2) and by content id."""

    def __init__(self, root, how="both"):
        self.root, self.how = pathlib.Path(root), how
        self.packs, self.ids = {}, None
        self.frames = collections.OrderedDict()
        c = Cursor(self.object("format"), "format")  # 3
        c.head(b"pfsF")
        self.id = c.take(16)
        c.u64()
        c.u64()
        require(c.u64() == 0, "format: features that this reader does not know")
        c.i64()
        require(c.str8() == b"sha256" and c.str8() == b"", "format: another hash, or a key")
        c.checksum()

    def object(self, key):
        require(re.fullmatch(r"[A-Za-z0-9/._-]{1,512}", key), f"{key}: no key")
        return (self.root / key).read_bytes()

    def commit(self, repo, the_id):
        try:
            return self.object(f"commits/{repo.hex()}/{the_id.hex()}")
        except FileNotFoundError:
            return self.object(f"pins/{repo.hex()}/{the_id.hex()}")

    def keys(self, prefix):
        where = self.root / prefix
        return sorted(p.name for p in where.iterdir()) if where.is_dir() else []

    def pack(self, name):
        if name not in self.packs:
            path = self.root / "packs" / name.hex()[:2] / name.hex()
            self.packs[name] = Pack(path)
        return self.packs[name]

    def all_packs(self):
        for prefix in self.keys("packs"):
            for name in self.keys(f"packs/{prefix}"):
                yield self.pack(bytes.fromhex(name))

    def item_at(self, kind, the_id, loc):
        """What lies there, or None when it is something else."""
        key = loc.pack, loc.offset
        if key not in self.frames:
            try:
                length, items = self.pack(loc.pack).frame(loc.offset)
            except (Damaged, FileNotFoundError):
                return None
            self.frames[key] = items
            if len(self.frames) > 64:
                self.frames.popitem(last=False)
        items = self.frames[key]
        if loc.item < len(items) and items[loc.item][:2] == (kind, the_id):
            return items[loc.item][2]
        return None

    def item(self, kind, the_id, hint):
        if hint and self.how != "footers":
            found = self.item_at(kind, the_id, hint)
            if found is not None:
                return found
        require(self.how != "hints", f"{the_id.hex()}: its hint leads nowhere")
        if self.ids is None:
            self.ids = {e[0]: e[3] for p in self.all_packs() for e in p.footer()[1]}
        require(the_id in self.ids, f"{the_id.hex()}: in no pack")
        found = self.item_at(kind, the_id, self.ids[the_id])
        require(found is not None, f"{the_id.hex()}: not where the footer says")
        return found

    def chunk(self, the_id, hint, length):
        if the_id == EMPTY_CHUNK:
            return b""
        data = self.item(CHUNK, the_id, hint)
        require(len(data) == length, f"chunk {the_id.hex()}: of another length")
        return data


# 7. Trees

def sat(a):
    return min(a, TOP)


Sums = collections.namedtuple("Sums", "items subdirs files bytes data links", defaults=(0,) * 6)


def add(a, b):
    return Sums(*(sat(x + y) for x, y in zip(a[:5], b[:5])), a.links | b.links)


def parse_hints(data, n):
    """One (loc, xattr loc, inline) for each entry; Nones when there are no hints."""
    nothing = [(None, None, None)] * n
    if not data:
        return nothing
    try:
        c = Cursor(data, "hints")
        require(c.u8() == 1 and c.u8() == 0, "hints: unknown")
        packs = [c.take(16) for _ in range(c.u16())]
        out = []
        for _ in range(n):
            what, locs, inline = c.u8(), [None, None], None
            require(what < 8, "hints: unknown bits")
            for i in range(2):
                if what & 1 << i:
                    pack, offset, frame_len, item = c.u16(), c.u32(), c.u32(), c.u16()
                    require(pack < len(packs), "hints: no such pack")
                    locs[i] = Loc(packs[pack], offset, frame_len, item)
            if what & 4:
                inline = c.str16(256)
            out.append((*locs, inline))
        c.end()
        return out
    except Damaged:
        return nothing


Inode = collections.namedtuple(
    "Inode", "type mode uid gid mtime ctime size content data id sums rdev xattrs xattr_len xattr_id")
Entry = collections.namedtuple("Entry", "key cut_key size sums record hint")
Name = collections.namedtuple("Name", "name type link inode")
Link = collections.namedtuple("Link", "link nlink inode")
Extent = collections.namedtuple("Extent", "is_hole len id")


def parse_xattrs(data):
    c, out, last = Cursor(data, "xattrs"), {}, b""
    while c.at < len(data):
        name, value = c.str8(), c.str32(MIB)
        require(name > last and 0 not in name, "xattrs: a wrong name, or out of order")
        out[name], last = value, name
    return out


def dir_sums(c):
    items, subdirs, files, size, links = c.u64(), c.u64(), c.u64(), c.u64(), c.u8()
    require(links <= 1, f"{c.what}: links is {links}")
    return Sums(items, subdirs, files, size, 0, links)


def parse_inode(c, kind, flags):
    """8.1, after the flags."""
    require(flags in (0, 2, 4), f"{c.what}: flags {flags}")
    mode = c.u16()
    require(mode <= 0o7777, f"{c.what}: mode {mode:o}")
    uid, gid, mtime, ctime = c.u32(), c.u32(), c.time(), c.time()
    f = dict(type=kind, mode=mode, uid=uid, gid=gid, mtime=mtime, ctime=ctime)
    if kind == REG:
        f["size"], f["content"], f["data"], f["id"] = c.u64(), c.u8(), c.u64(), c.take(32)
        require(f["size"] < 2**63 and f["content"] <= 1, f"{c.what}: a wrong size or content")
        require(f["data"] <= f["size"], f"{c.what}: more data than bytes")
        if f["content"] == 0:
            require(f["data"] == f["size"] <= 16 * MIB, f"{c.what}: no chunk is like that")
            require((f["size"] == 0) == (f["id"] == EMPTY_CHUNK), f"{c.what}: empty or not?")
        else:
            require(f["size"] > 0 and f["id"] != NULL_OID, f"{c.what}: extents of nothing")
    elif kind == DIRECTORY:
        f["id"], f["sums"] = c.take(32), dir_sums(c)
        require((f["id"] == NULL_OID) == (f["sums"].items == 0), f"{c.what}: empty or not?")
    elif kind == SYMLINK:
        f["size"], f["id"] = c.u16(), c.take(32)
        require(1 <= f["size"] <= 4095, f"{c.what}: a target of {f['size']} bytes")
    elif kind in (CHARDEV, BLOCKDEV):
        f["rdev"] = c.u32(), c.u32()
    if flags & 2:
        f["xattrs"] = c.str16(1024)
        require(f["xattrs"], f"{c.what}: an empty list of xattrs")
        parse_xattrs(f["xattrs"])
    if flags & 4:
        f["xattr_len"], f["xattr_id"] = c.u32(), c.take(32)
        require(1025 <= f["xattr_len"] <= MIB, f"{c.what}: large xattrs of a wrong length")
    return Inode(*(f.get(k) for k in Inode._fields))


def parse_dirent(c):
    name, kind, flags = c.str8(), c.u8(), c.u8()
    require(name not in (b"", b".", b"..") and not set(name) & {0, 0x2F}, f"{c.what}: a wrong name")
    require(kind in TYPES, f"{c.what}: type {kind}")
    if flags & 1:
        require(flags == 1 and kind != DIRECTORY, f"{c.what}: a link with more flags")
        record = Name(name, kind, c.take(16), None)
        sums = Sums(items=1, files=1, links=1)
    else:
        ino = parse_inode(c, kind, flags)
        record = Name(name, kind, None, ino)
        if kind == DIRECTORY:
            sums = Sums(1, 1, ino.sums.files, ino.sums.bytes, 0, ino.sums.links)
        else:
            sums = Sums(items=1, files=1, bytes=ino.size if kind == REG else 0)
    return name, name, sums, record


def parse_link(c):
    link, nlink, kind, flags = c.take(16), c.u32(), c.u8(), c.u8()
    require(nlink >= 1 and kind in TYPES and kind != DIRECTORY, f"{c.what}: no link's record")
    return link, link, Sums(items=1), Link(link, nlink, parse_inode(c, kind, flags))


def parse_extent(c):
    what, length = c.u8(), c.u64()
    require(what <= 1 and length >= 1, f"{c.what}: no extent")
    if what == 0:
        return b"", NULL_OID, Sums(items=1, bytes=length), Extent(True, length, None)
    require(length <= 16 * MIB, f"{c.what}: a chunk of {length} bytes")
    the_id = c.take(32)
    return b"", the_id, Sums(items=1, bytes=length, data=length), Extent(False, length, the_id)


LEAVES = {DIR_TREE: parse_dirent, LINKS_TREE: parse_link, EXTENTS_TREE: parse_extent}


def parse_child(c, kind):
    key = b"" if kind == EXTENTS_TREE else c.str16(255)
    the_id = c.take(32)
    if kind == DIR_TREE:
        sums = dir_sums(c)
    elif kind == LINKS_TREE:
        sums = Sums(items=c.u64())
    else:
        sums = Sums(items=c.u64(), bytes=c.u64(), data=c.u64())
    return key, the_id if kind == EXTENTS_TREE else key, sums, the_id


def parse_node(item, kind, what):
    canon, hint = split_node(item, what)
    c = Cursor(canon, what)
    c.head(b"pfsN")
    require(c.u8() == kind, f"{what}: of another kind")
    level = c.u8()
    c.zero(2)
    count = c.u32()
    require(level <= 15 and count >= 1, f"{what}: level {level}, {count} entries")
    require(len(canon) <= 129 * KIB or count == 1, f"{what}: too long")
    require(16 + 9 * count <= len(canon), f"{what}: too short for {count} entries")
    entries = []
    for h in parse_hints(hint, count):
        at = c.at
        key, cut_key, sums, record = LEAVES[kind](c) if level == 0 else parse_child(c, kind)
        entries.append(Entry(key, cut_key, c.at - at, sums, record, h))
    c.end()
    return level, entries


class TreeWalk:
    """The leaf entries of a tree in order, every rule of section 7 checked on the way."""

    def __init__(self, store, kind):
        self.store, self.kind = store, kind
        self.open = {}  # level: size of the last node, and its last entry
        self.last_key = None

    def boundaries(self, level, entries):
        """7.2."""
        size = 0
        if level in self.open:
            before, last = self.open[level]
            require(self.ends_after(before, last, level) or before + entries[0].size > 131072,
                    f"a node of level {level} ends where it should not")
        for i, e in enumerate(entries):
            require(size == 0 or size + e.size <= 131072, f"a node of level {level} is too large")
            size += e.size
            require(i + 1 == len(entries) or not self.ends_after(size, e, level),
                    f"a node of level {level} goes on where it should end")
        self.open[level] = size, entries[-1]

    @staticmethod
    def ends_after(size, entry, level):
        below = sat(2**64 // 24576 * entry.size)
        return size >= 8192 and xxh(entry.cut_key, level) < below

    def node(self, the_id, hint, level, key, sums):
        got, entries = parse_node(self.store.item(NODE, the_id, hint), self.kind,
                                  f"node {the_id.hex()}")
        if level is None:
            require(got == 0 or len(entries) >= 2, "a root with a single child")
        else:
            require(got == level, "a child of a wrong level")
            require(self.kind == EXTENTS_TREE or entries[0].key == key, "a child of a wrong key")
        total = Sums()
        for e in entries:
            total = add(total, e.sums)
        if level is None and self.kind == EXTENTS_TREE:
            sums = sums._replace(items=total.items)
        require(total == sums, f"node {the_id.hex()}: sums to {total}, and should to {sums}")
        self.boundaries(got, entries)
        for e in entries:
            if got > 0:
                yield from self.node(e.record, e.hint[0], got - 1, e.key, e.sums)
                continue
            if self.kind != EXTENTS_TREE:
                require(self.last_key is None or self.last_key < e.key, "keys out of order")
                self.last_key = e.key
            yield e.record, e.hint


def walk(store, kind, root, hint, sums):
    if root == NULL_OID:
        require(sums.items == 0, "an empty tree with items")
        return iter(())
    return TreeWalk(store, kind).node(root, hint, None, None, sums)


# 8.4 Chunks

GEAR = [int.from_bytes(hashlib.sha256(b"pfs gear" + bytes([i])).digest()[:8], "little")
        for i in range(256)]


def cut(data, left, params):
    """How long the chunk is that starts with @data, of a run of which @left bytes are left."""
    least, avg, most = params
    b = avg.bit_length() - 1
    if left <= least:
        return left
    h = 0
    for p in range(least, min(most, left)):
        if p == len(data):
            return None  # it would be longer than that
        h = (h << 1) + GEAR[data[p]] & TOP
        bits = b + 2 if p < avg else b - 2
        if h >> 64 - bits == 0:
            return p + 1
    return min(most, left)


# 9. Commits

class Commit:
    def __init__(self, store, repo, the_id):
        what = f"commit {the_id.hex()}"
        self.store, self.repo, self.id = store, repo, the_id
        data = store.commit(repo.id, the_id)
        require(len(data) <= 4 * MIB, f"{what}: too long")
        c = Cursor(data, what)
        c.head(b"pfsC")
        canon_len, hint_len = c.u32(), c.u32()
        canon, hint = c.take(canon_len), c.take(hint_len)
        c.checksum()
        require(oid(COMMIT, canon) == the_id, f"{what}: does not match its id")
        c = Cursor(canon, what)
        require(c.take(16) == repo.id, f"{what}: of another repo")
        self.generation = c.u64()
        count = c.u8()
        require(count <= 16, f"{what}: too many parents")
        self.parents = [c.take(32) for _ in range(count)]
        self.root = parse_inode(c, DIRECTORY, c.u8())
        self.links_id, links_items = c.take(32), c.u64()
        require((self.links_id == NULL_OID) == (links_items == 0), f"{what}: links or none?")
        self.time = c.time()
        c.take(16)
        self.author, self.machine = c.str8(), c.str8()
        self.message = c.str32(MIB)
        at, self.meta, last = c.at, {}, None
        for _ in range(c.u16()):
            key, value = c.str8(), c.str32(MIB)
            require(last is None or last < key, f"{what}: metadata out of order")
            self.meta[key], last = value, key
        require(c.at - at <= MIB + 2, f"{what}: too much metadata")
        c.end()
        self.root_hint, links_hint = parse_hints(hint, 2)
        self.links = {r.link: (r, h) for r, h in
                      walk(store, LINKS_TREE, self.links_id, links_hint[0], Sums(links_items))}

    def inode(self, name, hint):
        """The inode of a name, wherever it is, with its hint."""
        if not name.link:
            return name.inode, hint
        require(name.link in self.links, f"{name.name!r}: its link has no record")
        record, hint = self.links[name.link]
        require(record.inode.type == name.type, f"{name.name!r}: its link is of another type")
        return record.inode, hint

    def names(self, ino, hint):
        return walk(self.store, DIR_TREE, ino.id, hint[0], ino.sums)

    def below(self, path, ino, hint):
        """Every name below a directory, depth first: path, name, inode, hint."""
        stack = [(path, self.names(ino, hint))]
        while stack:
            path, names = stack[-1]
            found = next(names, None)
            if found is None:
                stack.pop()
                continue
            name, hint = found
            ino, hint = self.inode(name, hint)
            where = path + (b"/" if path else b"") + name.name
            yield where, name, ino, hint
            if name.type == DIRECTORY:
                stack.append((where, self.names(ino, hint)))

    def find(self, path):
        name, ino, hint = None, self.root, self.root_hint
        for part in path.split(b"/") if path else []:
            require(ino.type == DIRECTORY, f"{path!r}: not a directory on the way")
            for name, h in self.names(ino, hint):
                if name.name == part:
                    ino, hint = self.inode(name, h)
                    break
            else:
                raise FileNotFoundError(path)
        return name, ino, hint

    def xattrs(self, ino, hint):
        if ino.xattrs:
            return parse_xattrs(ino.xattrs)
        if ino.xattr_id:
            return parse_xattrs(self.store.chunk(ino.xattr_id, hint[1], ino.xattr_len))
        return {}

    def extents(self, ino, hint):
        """A file's runs of bytes: offset, length, bytes (None: a hole)."""
        if hint[2] is not None:
            require(ino.content != 1 and oid(CHUNK, hint[2]) == ino.id, "inline bytes are others")
        if ino.content != 1:
            if ino.size:
                yield 0, ino.size, self.store.chunk(ino.id, hint[0], ino.size)
            return
        off = chunks = holes = 0
        was_hole = False
        for x, h in walk(self.store, EXTENTS_TREE, ino.id, hint[0],
                         Sums(0, bytes=ino.size, data=ino.data)):
            if x.is_hole:
                require(not was_hole, "two holes side by side")
                require(off % 4096 == 0, "a hole that starts within a block")
                require((off + x.len) % 4096 == 0 or off + x.len == ino.size,
                        "a hole that ends within a block")
            yield off, x.len, None if x.is_hole else self.store.chunk(x.id, h[0], x.len)
            was_hole = x.is_hole
            off, chunks, holes = off + x.len, chunks + (not x.is_hole), holes + x.is_hole
        require(holes or (chunks > 1 and ino.size > 128 * KIB), "extents of what is one chunk")

    def check_cuts(self, ino, hint):
        """Were these chunks cut where section 8.4 says?"""
        if ino.size <= 128 * KIB and ino.data == ino.size:
            require(ino.content == 0, "a small file in extents")
            return
        run = []
        for off, length, data in [*self.extents(ino, hint), (0, 0, None)]:
            if data is not None:
                run.append(data)
                continue
            left = sum(map(len, run))
            for chunk in run:
                want = cut(chunk, left, self.repo.chunk)
                require(want == len(chunk), f"a chunk of {len(chunk)} bytes, not of {want}")
                left -= len(chunk)
            run = []

    def check(self):
        counts, names = collections.Counter(), 0
        seen = set()
        self.xattrs(self.root, self.root_hint)
        for path, name, ino, hint in self.below(b"", self.root, self.root_hint):
            names += 1
            if name.link:
                counts[name.link] += 1
            self.xattrs(ino, hint)
            if name.type in (REG, SYMLINK) and (ino.id, ino.size) not in seen:
                seen.add((ino.id, ino.size))
                try:
                    if name.type == REG:
                        self.check_cuts(ino, hint)
                    for _ in self.extents(ino, hint):
                        pass
                except Damaged as e:
                    raise Damaged(f"{path!r}: {e}") from e
        require(counts == {k: r.nlink for k, (r, _) in self.links.items()},
                "link counts that are not those of the names")
        return names


# 10. Refs

def valid_name(name):
    return (re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", name) and name != "commits"
            and not (re.fullmatch(r"[0-9a-fA-F]{8,}", name) and re.search("[a-fA-F]", name)))


def end_of_ref(c, state):
    """Padding and checksum."""
    size = len(c.data)
    require(size <= 64 * KIB, f"{c.what}: too long")
    want = 512 if state == 2 else max(c.at + 8, 1024)
    require(size == want, f"{c.what}: {size} bytes long, not {want}")
    c.zero(size - 8 - c.at)
    c.checksum()


class Repo:
    def __init__(self, store, name):
        require(valid_name(name), f"{name}: no name of a repo")
        self.store = store
        c = Cursor(store.object(f"repos/{name}"), f"repo {name}")
        c.head(b"pfsO")
        self.state = c.u8()
        c.u64()
        c.take(16)
        self.id = c.take(16)
        c.text8()
        c.time()
        self.default = c.text8(100)
        self.chunk = least, avg, most = c.u32(), c.u32(), c.u32()
        require(64 <= least < avg < most <= 16 * MIB and avg & avg - 1 == 0,
                f"{c.what}: chunks of {self.chunk}")
        c.u16(), c.u32(), c.u32(), c.time()
        last = None
        for _ in range(c.u16()):
            key, value = c.str8(), c.str16()
            require((last is None or last < key) and 0 not in key + value, f"{c.what}: settings")
            last = key
        end_of_ref(c, self.state)
        if self.state == 2:
            raise FileNotFoundError(f"repo {name}: removed")

    def ref(self, kind, name):
        """The commit that a branch (1) or name (2) is at, or None."""
        try:
            c = Cursor(self.store.object(f"{['heads', 'names'][kind - 1]}/{self.id.hex()}/{name}"),
                       f"ref {name}")
        except FileNotFoundError:
            return None
        c.head(b"pfsR")
        require(c.u8() == kind, f"{c.what}: of another kind")
        state = c.u8()
        c.u64()
        c.take(16)
        branch = c.take(16)
        require((branch == NULL_ID) == (kind == 2), f"{c.what}: a branch's identity")
        c.text8()
        c.time()
        target = c.take(32)
        c.text8(100)
        commit = c.str32(32 * KIB)
        end_of_ref(c, state)
        if commit:
            require(commit == self.store.commit(self.id, target),
                    f"{c.what}: carries another commit than the store has")
        return target if state == 1 else None

    def resolve(self, text):
        if valid_name(text):
            found = self.ref(1, text) or self.ref(2, text)
            if found:
                require(found != NULL_OID, f"{text}: nothing was committed yet")
                return Commit(self.store, self, found)
        for kind in "commits", "pins":
            ids = [k for k in self.store.keys(f"{kind}/{self.id.hex()}") if k.startswith(text)]
            if ids:
                break
        if len(text) < 8 or len(ids) != 1:
            raise FileNotFoundError(f"{text}: no branch, name or commit")
        return Commit(self.store, self, bytes.fromhex(ids[0]))


# What it is used for

def describe(path, name, ino, xattrs):
    out = {
        "path": os.fsdecode(path), "type": TYPES[ino.type], "mode": ino.mode, "uid": ino.uid,
        "gid": ino.gid, "mtime": ino.mtime, "ctime": ino.ctime,
        "xattrs": {os.fsdecode(k): v.hex() for k, v in xattrs.items()},
    }
    if ino.type in (REG, SYMLINK, DIRECTORY):
        out["id"] = ino.id.hex()
    if ino.type in (REG, SYMLINK):
        out["size"] = ino.size
    if ino.type == REG:
        out["data"], out["content"] = ino.data, ["chunk", "extents"][ino.content]
    if ino.rdev:
        out["rdev"] = list(ino.rdev)
    if name and name.link:
        out["link"] = name.link.hex()
    return out


def set_attributes(path, ino, xattrs):
    """All but what the file holds; times last."""
    os.chown(path, ino.uid, ino.gid, follow_symlinks=False)
    for k, v in xattrs.items():
        os.setxattr(path, k, v, follow_symlinks=False)
    if ino.type != SYMLINK:
        os.chmod(path, ino.mode)
    os.utime(path, ns=(ino.mtime, ino.mtime), follow_symlinks=False)


def make(commit, path, ino, hint):
    if ino.type == DIRECTORY:
        os.mkdir(path, 0o700)
    elif ino.type == SYMLINK:
        os.symlink(b"".join(d for _, _, d in commit.extents(ino, hint)), path)
    elif ino.type == REG:
        with open(path, "xb") as f:
            for off, _, data in commit.extents(ino, hint):
                if data is not None:
                    os.pwrite(f.fileno(), data, off)
            f.truncate(ino.size)
    else:
        os.mknod(path, IFMT[ino.type] | 0o600, os.makedev(*(ino.rdev or (0, 0))))


def extract(commit, path, dest):
    dest, later, links = os.fsencode(dest), [], {}
    _, root, hint = commit.find(path)
    everything = [(b"", None, root, hint)]
    if root.type == DIRECTORY:
        everything = [*everything, *commit.below(b"", root, hint)]
    for where, name, ino, hint in everything:
        to = dest + b"/" + where if where else dest
        if name and name.link in links:
            os.link(links[name.link], to, follow_symlinks=False)
            continue
        if name and name.link:
            links[name.link] = to
        make(commit, to, ino, hint)
        later.append((to, ino, commit.xattrs(ino, hint)))
    for args in reversed(later):
        set_attributes(*args)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--hints", dest="how", action="store_const", const="hints")
    p.add_argument("--footers", dest="how", action="store_const", const="footers")
    p.add_argument("store")
    p.add_argument("verb", choices=["ls", "cat", "extract", "check", "packs"])
    p.add_argument("what", nargs="?")
    p.add_argument("dest", nargs="?")
    args = p.parse_args()
    store = Store(args.store.removeprefix("file://"), args.how or "both")
    if args.verb == "packs":
        print(sum(pack.check() for pack in store.all_packs()))
        return
    repo, rev, *path = args.what.strip("/").split("/")
    path = os.fsencode("/".join(path))
    commit = Repo(store, repo).resolve(rev)
    if args.verb == "check":
        print(commit.check())
        return
    if args.verb == "extract":
        extract(commit, path, args.dest)
        return
    name, ino, hint = commit.find(path)
    if args.verb == "cat":
        for _, length, data in commit.extents(ino, hint):
            sys.stdout.buffer.write(data if data is not None else bytes(length))
        return
    print(json.dumps(describe(b"", name, ino, commit.xattrs(ino, hint))))
    if ino.type == DIRECTORY:
        for where, name, ino, hint in commit.below(b"", ino, hint):
            print(json.dumps(describe(where, name, ino, commit.xattrs(ino, hint))))


if __name__ == "__main__":
    try:
        main()
    except (Damaged, OSError) as error:
        sys.exit(f"pfsread: {error}")
