#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What test_memo_model.py has to find: for each kind of thing that a run may see a mistake that
has it not looked at, or not noted.

memo_mutants.py DIR [NAME...] builds pfs in DIR from a copy of the source with one mistake after the
other, runs the test with each, and says what was found. It fails if one was not. (What a listing tells
of names, and the other side of an exchange, the worlds of the model cannot show: test_memo.py does.)
"""

import os
import pathlib
import shutil
import subprocess
import sys
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]

# name, steps of programs that show it, file, what is there, what a mistake would have there
MUTANTS = [
    # what is compared
    ("the repos' listing", "types ../..",
     "store/run/memo.c",
     "r = listing_of_repos(c->m.store->refs, &w, &id);\n\treturn r < 0 ? r : is_same(&id, was);",
     "r = listing_of_repos(c->m.store->refs, &w, &id);\n\treturn MIN(r, 0);"),
    ("a repo's listing", "list ..",
     "store/run/memo.c",
     "r = listing_of_repo(c->m.store->refs, &rec.id, &w, &id);\n"
     "\treturn r < 0 ? r : is_same(&id, was);",
     "r = listing_of_repo(c->m.store->refs, &rec.id, &w, &id);\n\treturn MIN(r, 0);"),
    ("a repo's absence", "exists ../../T,list ../../T",
     "store/run/memo.c",
     "return (r == -ENOENT) == run_tree_is_absent(ino) ? 0 : DIFFERS;",
     "return r == -ENOENT && !run_tree_is_absent(ino) ? DIFFERS : 0;"),
    ("a branch's presence", "exists ../other,list ../other,read ../other/x",
     "store/run/memo.c",
     "if (r == 0)\n\t\tr = making_commit(&c->m, &c->repo_id, &now, &c->now);",
     "if (r == -ENOENT)\n\t\treturn RUN_TREE_SKIP;\n"
     "\tif (r == 0)\n\t\tr = making_commit(&c->m, &c->repo_id, &now, &c->now);"),
    ("a branch's absence", "exists ../other,list ../other,read ../other/x",
     "store/run/memo.c",
     "if (run_tree_is_absent(ino))\n\t\treturn r == -ENOENT ? 0 : DIFFERS;",
     "if (run_tree_is_absent(ino))\n\t\treturn 0;"),
    ("what a name of a commit leads to", "read ../v/p0",
     "store/run/memo.c",
     "return span_equal(id, span_of(to.commit.b, OID_SIZE)) ? RUN_TREE_SKIP : DIFFERS;",
     "return RUN_TREE_SKIP;"),
    ("a directory's mode", "look dir,chmod dir,list dir",
     "store/run/memo.c",
     "if (ino->type != FT_DIR || ino->mode != mode)", "if (ino->type != FT_DIR)"),
    ("that something is a directory now", "look file,read file,stat file",
     "store/run/memo.c",
     "if (before.inode.type != FT_DIR)\n\t\treturn DIFFERS;",
     "if (before.inode.type != FT_DIR)\n\t\treturn RUN_TREE_SKIP;"),
    ("that something was a directory", "look dir,types dir",
     "store/run/memo.c",
     "return is_same_file(&now, ino) ? 0 : DIFFERS;",
     "return is_same_file(&now, ino) ? 0 : ino->type == FT_DIR ? RUN_TREE_SKIP : DIFFERS;"),
    ("a directory's listing", "list dir,types dir,walk dir",
     "store/run/memo.c",
     "if (r == 0)\n\t\t\tr = is_same(&id, was);\n\t\tif (r != 0)", "if (r != 0)"),
    ("all that is in a directory", "rename dir,swap dir",
     "store/run/memo.c",
     "if (noted(xattrs, RUN_TREE_TREE, &was) &&",
     "if (noted(xattrs, RUN_TREE_TREE, &was) && c->cap == SIZE_MAX &&"),
    ("a file's mode", "look file,stat file",
     "store/run/memo.c",
     "if (a->type != b->type || a->mode != b->mode)", "if (a->type != b->type)"),
    ("a file's type", "look file,look link,stat file",
     "store/run/memo.c",
     "if (a->type != b->type || a->mode != b->mode)\n\t\treturn false;",
     "if (a->type != b->type)\n\t\treturn true;\n\tif (a->mode != b->mode)\n\t\treturn false;"),
    ("a file's content", "read file",
     "store/run/memo.c",
     "oid_equal(&a->content.id, &b->content.id)));",
     "(a->type == FT_REG || oid_equal(&a->content.id, &b->content.id))));"),
    ("a link's target", "target link,read link",
     "store/run/memo.c",
     "oid_equal(&a->content.id, &b->content.id)));",
     "(a->type == FT_LNK || oid_equal(&a->content.id, &b->content.id))));"),
    ("that something is empty now", "read file,stat file",
     "store/run/memo.c",
     "return a->content.size == b->content.size &&\n\t\t       (a->content.size == 0",
     "return (a->content.size == b->content.size || a->content.size == 0) &&\n"
     "\t\t       (a->content.size == 0"),
    ("that something was absent", "exists none,read none,look none",
     "store/run/memo.c",
     "if (r == -ENOENT || (r == 0 && run_tree_is_absent(ino)))\n"
     "\t\treturn r == -ENOENT && run_tree_is_absent(ino) ? 0 : DIFFERS;",
     "if (r == -ENOENT || (r == 0 && run_tree_is_absent(ino)))\n"
     "\t\treturn run_tree_is_absent(ino) ? 0 : DIFFERS;"),
    ("that something is absent now", "exists file,read file",
     "store/run/memo.c",
     "if (r == -ENOENT || (r == 0 && run_tree_is_absent(ino)))\n"
     "\t\treturn r == -ENOENT && run_tree_is_absent(ino) ? 0 : DIFFERS;",
     "if (r == -ENOENT || (r == 0 && run_tree_is_absent(ino)))\n"
     "\t\treturn r == -ENOENT ? RUN_TREE_SKIP : DIFFERS;"),
    ("which names are one file", "over pair,rename pair,unlink pair",
     "store/run/memo.c",
     "if (!is_same_link(&e, &before))\n\t\treturn DIFFERS;\n", ""),
    ("files with other names in the same tree", "read pair,walk pairs,list pairs",
     "store/run/memo.c",
     "bool links_hold = !dir->now.sum.has_links || c->links_are_same;",
     "bool links_hold = true;"),
    ("what is committed now", "write file,append file,over file",
     "store/run/memo.c",
     "if (out && !oid_equal(pinned, &h->committed))", "if (out && oid_is_null(pinned))"),
    # what becomes of what was noted
    ("absent names in the record", "exists none,read none,look none",
     "store/record/observed.c",
     "return what & SEEN_ABSENT ? part_put(o->looked, name, &ino) : 0;", "return 0;"),
    ("files in the record", "look file,stat file,exists file",
     "store/record/observed.c",
     "if (what & WAS_THERE)\n\t\tr = part_put(o->looked, name, &ino);",
     "if (what & SEEN_READ)\n\t\tr = part_put(o->looked, name, &ino);"),
    ("links in the record", "target link,look link,read link",
     "store/record/observed.c",
     "if (what & WAS_THERE)\n\t\tr = part_put(o->looked, name, &ino);",
     "if (what & WAS_THERE && ino.type != FT_LNK)\n\t\tr = part_put(o->looked, name, &ino);"),
    ("listings in the record", "list dir,types dir,walk dir",
     "store/record/observed.c",
     "if (r == 0 && (what & SEEN_LISTED))\n\t\tr = add_listing(&xattrs, listing_of_dir(",
     "if (r == 0 && (what & SEEN_READ))\n\t\tr = add_listing(&xattrs, listing_of_dir("),
    ("trees in the record", "rename dir,swap dir",
     "store/record/observed.c",
     "if (r == 0 && (what & SEEN_TREE))", "if (r == 0 && (what & SEEN_READ))"),
    ("the repos' listing in the record", "types ../..",
     "store/record/observed.c",
     "if (what & SEEN_LISTED)\n\t\tr = add_listing(&xattrs, listing_of_repos(",
     "if (what & SEEN_READ)\n\t\tr = add_listing(&xattrs, listing_of_repos("),
    ("a repo's listing in the record", "list ..",
     "store/record/observed.c",
     "if (r == 0 && (what & SEEN_LISTED)) {\n\t\tr = repo_id(o, &repo);",
     "if (r == 0 && (what & SEEN_READ)) {\n\t\tr = repo_id(o, &repo);"),
    ("absent branches in the record", "exists ../other,list ../other",
     "store/record/observed.c",
     "o->name_was_absent = what & SEEN_ABSENT;", "o->name_was_absent = false;"),
    ("names of commits in the record", "exists ../v,read ../v/p0",
     "store/record/observed.c",
     "if (has_commit) {", "if (has_commit && o->commits.len > OID_SIZE) {"),
    # what is noted
    ("noting of absent names", "exists none,read none",
     "fs/realm_saw.c",
     "\telse\n\t\tseen_name(s, dir->place, name, SEEN_ABSENT);\n", ""),
    ("noting of listings", "list dir,types dir",
     "fs/realm_saw.c", "\tmark(dir, SEEN_LISTED);\n", ""),
    ("noting of moves", "rename dir,rename pairs",
     "fs/realm_saw.c", "if (v->type == FT_DIR)\n\t\tmark(v, SEEN_TREE);", ""),
    ("noting of listings of repos", "list ..,types ../..",
     "fs/realm_saw.c",
     "\tseen_mark(s, seen_top(s, repo), SEEN_LISTED);\n", ""),
    ("noting of what is not there above", "exists ../other,exists ../v,exists ../../T",
     "fs/realm_saw.c",
     "is_there ? SEEN_PRESENT : SEEN_ABSENT);\n\tnoted(k);\n}\n\nvoid realm_saw_commit",
     "SEEN_PRESENT);\n\tnoted(k);\n}\n\nvoid realm_saw_commit"),
    ("noting of commits' names", "exists ../v,read ../v/p0,list ../v",
     "fs/realm_saw.c",
     "\tseen_name(s, p, span_str(id), SEEN_PRESENT);\n", ""),
    ("noting of what is removed as empty", "rmdir hollow,renew hollow,rmdir dir",
     "fs/ops_names.c",
     "r = see_emptiness(c, dir.vnode, c->name, acc);\n\tif (r == 0)\n\t\tr = view_rmdir",
     "r = 0;\n\tif (r == 0)\n\t\tr = view_rmdir"),
    ("noting of what is replaced as empty", "rename hollow,rename dir",
     "fs/ops_names.c",
     "\tif (r == 0 && !(c->flags & RENAME_EXCHANGE))\n"
     "\t\tr = see_emptiness(c, to.vnode, c->name2, acc);\n", ""),
]


def misplaced():
    """Those whose place is not in the source, or there more than once."""
    return [name for name, _, file, there, _ in MUTANTS
            if (SOURCE / file).read_text().count(there) != 1]


def build(where):
    subprocess.run(["ninja", "-C", where / "build", "tools/pfs"], check=True,
                   stdout=subprocess.DEVNULL)
    return where / "build/tools/pfs"


def is_found(pfs, where, steps):
    """Does the test fail, as it is run by default? Played are those of its programs that show it."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
                           f"--basetemp={where}/tests", "tests/cli/test_memo_model.py", "-k",
                           "the_same"], cwd=where / "source",
                          env=dict(os.environ, PFS=str(pfs), PFS_MODEL_ONLY=steps),
                          stdout=subprocess.PIPE, text=True, check=False)
    (where / "last").write_text(done.stdout)
    shutil.rmtree(where / "tests", ignore_errors=True)
    return "assert results[0] == results[1]" in done.stdout


def main():
    where = pathlib.Path(sys.argv[1]).resolve()
    source = where / "source"
    missed = misplaced()
    if not source.exists():
        shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns(".git", "__pycache__"))
        subprocess.run(["meson", "setup", where / "build", source], check=True,
                       stdout=subprocess.DEVNULL)
    for name, steps, file, there, mistake in MUTANTS:
        if name in missed or (sys.argv[2:] and name not in sys.argv[2:]):
            continue
        right = (source / file).read_text()
        (source / file).write_text(right.replace(there, mistake))
        pfs = build(where)
        start = time.monotonic()
        found = is_found(pfs, where, steps)
        print(f"{name}: {'found' if found else 'NOT FOUND'}, {time.monotonic() - start:.0f} s",
              flush=True)
        (source / file).write_text(right)
        if not found:
            missed.append(name)
    if missed:
        sys.exit("not found, or out of place: " + ", ".join(missed))


if __name__ == "__main__":
    main()
