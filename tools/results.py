# SPDX-License-Identifier: GPL-3.0-or-later
"""For tools/check: what a report of tests says, meson's testlog.json or pytest's JUnit.

Prints "PASSED FAILED SKIPPED", then what failed, a line each. Of meson's two reports this is the
one to believe: in its JUnit report, at least until 1.0, a test that timed out counts as passed.
"""

import json
import re
import sys
import xml.etree.ElementTree as tree


# As cmocka says which of a program's tests have failed; not how many.
TOLD = re.compile(r"^\[  FAILED  \] (?!\d+ test)(.+)$", re.M)


def of_meson(lines):
    """Each test's name, result ("OK", "FAIL", "TIMEOUT", ...), and what to say if it is bad."""
    for line in lines:
        test = json.loads(line)
        told = dict.fromkeys(TOLD.findall(test.get("stderr") or ""))
        yield test["name"], test["result"], ", ".join(told) or test["result"].lower()


def of_junit(root):
    for case in root.iter("testcase"):
        result, why = "OK", ""
        for kind in "skipped", "failure", "error":
            if case.find(kind) is not None:
                result, why = ("SKIP" if kind == "skipped" else "FAIL"), kind
        yield f"{case.get('classname')}: {case.get('name')}", result, why


def main(part, report):
    with open(report, encoding="utf-8") as f:
        cases = list(of_meson(f) if report.endswith(".json") else of_junit(tree.parse(f).getroot()))
    good = ("OK", "EXPECTEDFAIL")
    failed = [f"{part}: {name}: {why}" for name, result, why in cases
              if result not in (*good, "SKIP")]
    if not cases:
        failed.append(f"{part}: no tests")
    print(sum(result in good for _, result, _ in cases), len(failed),
          sum(result == "SKIP" for _, result, _ in cases))
    print("\n".join(failed))


main(*sys.argv[1:])
