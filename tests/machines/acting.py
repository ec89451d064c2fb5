# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of several machines do again and again."""

import os
import threading
import time

from conftest import becomes


def together(*calls):
    """Runs them all at once: what each gave back, or raised."""
    results = [None] * len(calls)

    def one(i):
        try:
            results[i] = calls[i]()
        except BaseException as error:  # pylint: disable=broad-except
            results[i] = error

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(calls))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def retried(fn, seconds=90):
    """Until it succeeds; what was asked for may be there from an earlier try."""
    def attempt():
        try:
            fn()
        except FileExistsError:
            pass
        except AssertionError as error:
            raise OSError(str(error)) from error
        return True

    assert becomes(attempt, True, seconds)


def settle(machines, head="R/main"):
    """All have committed, and see what all have."""
    for m in machines:
        m.ok("commit", m / head)
    for m in machines:
        m.ok("sync", m / head)


def content(path, but=()):
    """Every file by its path; those named in `but` are not even opened."""
    def fail(error):
        raise error

    return {os.path.relpath(os.path.join(d, f), path): open(os.path.join(d, f), "rb").read()
            for d, _, files in os.walk(path, onerror=fail) for f in files if f not in but}


def timed(fn):
    start = time.monotonic()
    fn()
    return time.monotonic() - start
