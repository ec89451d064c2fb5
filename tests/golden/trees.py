#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the golden files for chunks, nodes and trees beside itself.

It follows store/FORMAT.md, sections 4, 7 and 8, and shares nothing with the C code but libxxhash; so
what the two agree on is what the document says. Run it only when the format changes.
"""
import ctypes
import hashlib
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
DIR, LINKS, EXTENTS = 1, 2, 3
REG, DIRECTORY, LNK, FIFO, CHR = 1, 2, 3, 4, 5

libxxhash = ctypes.CDLL("libxxhash.so.0")
libxxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
libxxhash.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]


def xxh(data, seed):
    return libxxhash.XXH3_64bits_withSeed(data, len(data), seed)


def splitmix(seed, words):
    mask = 2**64 - 1
    state = seed
    out = bytearray()
    for _ in range(words):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
        out += struct.pack("<Q", z ^ z >> 31)
    return bytes(out)


# 8.4 Chunks

GEAR = [struct.unpack("<Q", hashlib.sha256(b"pfs gear" + bytes([i])).digest()[:8])[0]
        for i in range(256)]


def highest_bits(n):
    return (2**n - 1) << (64 - n)


def chunk_len(data, start, lo, avg, hi):
    left = len(data) - start
    if left <= lo:
        return left
    b = avg.bit_length() - 1
    h = 0
    for p in range(lo, min(left, hi)):
        h = ((h << 1) + GEAR[data[start + p]]) & (2**64 - 1)
        if h & highest_bits(b + 2 if p < avg else b - 2) == 0:
            return p + 1
    return min(left, hi)


def chunks():
    lines = ["# min avg max: lengths of the chunks of 4 MiB of SplitMix64, seed 1"]
    data = splitmix(1, (4 << 20) // 8)
    for lo, avg, hi in ((128 << 10, 512 << 10, 2 << 20), (16 << 10, 64 << 10, 256 << 10),
                        (40000, 65536, 66000), (64, 128, 1000000)):
        start, lens = 0, []
        while start < len(data) and len(lens) < 100:
            lens.append(chunk_len(data, start, lo, avg, hi))
            start += lens[-1]
        lines.append(f"{lo} {avg} {hi}: " + " ".join(map(str, lens)))
    (HERE / "chunks.txt").write_text("\n".join(lines) + "\n")


# 8.1 to 8.3 Entries: (canonical bytes, key, what the boundary rule hashes, sums)

def str8(s):
    return bytes([len(s)]) + s


def inode(kind, mtime, xattrs=b"", size=0, oid=b"", data=None, extents=False, root=bytes(32),
          sums=(0, 0, 0, 0, 0), dev=(0, 0)):
    out = struct.pack("<BHIIqIqI", 2 if xattrs else 0, 0o644, 1000, 100, mtime, 5, -1, 999999999)
    if kind == REG:
        out += struct.pack("<QBQ", size, extents, size if data is None else data) + oid
    elif kind == DIRECTORY:
        out += root + struct.pack("<QQQQB", *sums)
    elif kind == LNK:
        out += struct.pack("<H", size) + oid
    elif kind == CHR:
        out += struct.pack("<II", *dev)
    return out + (struct.pack("<H", len(xattrs)) + xattrs if xattrs else b"")


def name_entry(name, kind, sums, rest):
    return str8(name) + bytes([kind]) + rest, name, name, sums


def file_entry(i):
    name = b"file%06d" % i
    oid = hashlib.sha256(name).digest()
    if i % 10 == 3:
        link = hashlib.sha256(name).digest()[:16]
        return name_entry(name, REG, (1, 0, 1, 0, 1), b"\x01" + link)
    return name_entry(name, REG, (1, 0, 1, i + 1, 0), inode(REG, i, size=i + 1, oid=oid))


def link_entry(i):
    link = struct.pack(">QQ", i, 0)
    rest = struct.pack("<IB", 1 + i % 3, REG) + inode(REG, i, size=i + 1, oid=bytes([7]) * 32)
    return link + rest, link, link, (1,)


def extent_entry(i):
    if i % 7 == 3:
        size = 4096 * (1 + i % 5)
        return struct.pack("<BQ", 0, size), b"", bytes(32), (1, size, 0)
    oid = hashlib.sha256(b"chunk%d" % i).digest()
    size = 65536 + i
    return struct.pack("<BQ", 1, size) + oid, b"", oid, (1, size, size)


# 7.1 and 7.2 Nodes

def add_sums(kind, all_sums):
    total = [min(sum(column), 2**64 - 1) for column in zip(*all_sums)]
    if kind == DIR:
        total[4] = min(total[4], 1)
    return tuple(total)


def node(kind, level, entries):
    canon = b"pfsN" + struct.pack("<HHBBHI", 1, 0, kind, level, 0, len(entries))
    return canon + b"".join(e[0] for e in entries)


def child_entry(kind, level, entries):
    oid = hashlib.sha256(b"pfs-node" + node(kind, level, entries)).digest()
    key, sums = entries[0][1], add_sums(kind, [e[3] for e in entries])
    if kind == DIR:
        wire = struct.pack("<H", len(key)) + key + oid + struct.pack("<QQQQB", *sums)
    elif kind == LINKS:
        wire = struct.pack("<H", len(key)) + key + oid + struct.pack("<Q", *sums)
    else:
        wire = oid + struct.pack("<QQQ", *sums)
    return wire, key, oid if kind == EXTENTS else key, sums


def split(level, entries):
    nodes, size = [[]], 0
    for e in entries:
        if size > 0 and size + len(e[0]) > 131072:
            nodes.append([])
            size = 0
        nodes[-1].append(e)
        size += len(e[0])
        if size >= 8192 and xxh(e[2], level) < min(2**64 // 24576 * len(e[0]), 2**64 - 1):
            nodes.append([])
            size = 0
    return [n for n in nodes if n]


def root_of(kind, entries):
    level = 0
    while True:
        nodes = split(level, entries)
        entries = [child_entry(kind, level, n) for n in nodes]
        if len(entries) == 1:
            oid_at = 0 if kind == EXTENTS else 2 + len(entries[0][1])
            return entries[0][0][oid_at:oid_at + 32], level, entries[0][3]
        level += 1


def trees():
    lines = ["# kind entries level root sums: see tests/unit/test_edit.c for the entries"]
    for kind, name, entry in ((DIR, "dir", file_entry), (LINKS, "links", link_entry),
                              (EXTENTS, "extents", extent_entry)):
        for n in (1, 50, 5000, 100000):
            oid, level, sums = root_of(kind, [entry(i) for i in range(n)])
            lines.append(f"{name} {n} {level} {oid.hex()} " + " ".join(map(str, sums)))
    (HERE / "trees.txt").write_text("\n".join(lines) + "\n")


def leaf():
    """One leaf with an entry of most types, and a hint part that has all there is."""
    oid = [bytes([i]) * 32 for i in range(6)]
    xattr = str8(b"user.a") + struct.pack("<I", 3) + b"xyz"
    entries = [
        name_entry(b"dir", DIRECTORY, (1, 1, 4, 15, 1),
                   inode(DIRECTORY, 1, root=oid[1], sums=(3, 1, 4, 15, 1))),
        name_entry(b"empty", DIRECTORY, (1, 1, 0, 0, 0), inode(DIRECTORY, 2)),
        name_entry(b"fifo", FIFO, (1, 0, 1, 0, 0), inode(FIFO, 3, xattrs=xattr)),
        name_entry(b"linked", REG, (1, 0, 1, 0, 1), b"\x01" + bytes([9]) * 16),
        name_entry(b"null", CHR, (1, 0, 1, 0, 0), inode(CHR, 4, dev=(1, 3))),
        name_entry(b"regular", REG, (1, 0, 1, 5, 0), inode(REG, 5, size=5, oid=oid[2])),
        name_entry(b"sparse", REG, (1, 0, 1, 2**40, 0),
                   inode(REG, 6, size=2**40, data=4096, extents=True, oid=oid[3])),
        name_entry(b"symlink", LNK, (1, 0, 1, 0, 0), inode(LNK, 7, size=3, oid=oid[4])),
    ]
    packs = [bytes([0xA0]) * 16, bytes([0xB0]) * 16]
    hints = {
        b"dir": b"\x01" + struct.pack("<HIIH", 0, 4096, 777, 2),
        b"regular": b"\x05" + struct.pack("<HIIH", 1, 32, 0, 0) + struct.pack("<H", 5) + b"hello",
        b"sparse": b"\x01" + struct.pack("<HIIH", 0, 8192, 0, 65535),
        b"symlink": b"\x04" + struct.pack("<H", 3) + b"dir",
    }
    hint = struct.pack("<BBH", 1, 0, len(packs)) + b"".join(packs)
    hint += b"".join(hints.get(e[1], b"\0") for e in entries)
    canon = node(DIR, 0, entries)
    lines = ["# canonical part, hint part, id", canon.hex(), hint.hex(),
             hashlib.sha256(b"pfs-node" + canon).hexdigest()]
    (HERE / "leaf.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    chunks()
    trees()
    leaf()
