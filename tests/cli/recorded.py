# SPDX-License-Identifier: GPL-3.0-or-later
"""What the store of a mount has of its runs, and the means to wait for it."""

import json
import pathlib
import time

from conftest import SECONDS


def records(mount):
    """All runs' records, the oldest first: what start and end say together."""
    found = {}
    for path in sorted(pathlib.Path(mount.store).glob("runs/*/*"), reverse=True):
        found.setdefault(path.stem, {}).update(json.loads(path.read_text()))
    return sorted(found.values(), key=lambda r: r["started"])


def record(mount):
    """The last run's."""
    return records(mount)[-1]


def params(said):
    """{key: value} of a record, the last of equals."""
    return {p["key"]: p["value"] for p in said["params"]}


def wait_for(condition):
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
