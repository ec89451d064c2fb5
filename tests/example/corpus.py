# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a corpus: short texts on two subjects, a directory for each. The same ones every time."""

import argparse
import pathlib
import random

COMMON = "the a of and it was to in that for new first last day year people work time".split()
WORDS = {
    "space": "orbit rocket launch moon planet crew engine station satellite lunar probe".split(),
    "sport": "match team goal season player coach league crew station score first".split(),
}

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("corpus", type=pathlib.Path)
p.add_argument("--documents", type=int, default=60, help="of each subject")
o = p.parse_args()

chance = random.Random(5)
for subject, words in WORDS.items():
    (o.corpus / subject).mkdir(parents=True, exist_ok=True)
    for i in range(o.documents):
        text = [chance.choice(words if chance.random() < 0.12 else COMMON) for _ in range(40)]
        (o.corpus / subject / f"{i:03}.txt").write_text(" ".join(text) + ".\n")
