# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes one table of all results, the best one first."""

import argparse
import csv
import json
import pathlib

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("results", type=pathlib.Path)
p.add_argument("table", type=pathlib.Path)
o = p.parse_args()

rows = [json.loads(f.read_text()) for f in sorted(o.results.glob("*.json"))]
rows.sort(key=lambda r: -r["accuracy"])
with open(o.table, "w", newline="") as out:
    table = csv.DictWriter(out, ["model", "alpha", "accuracy"])
    table.writeheader()
    table.writerows(rows)
