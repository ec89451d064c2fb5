# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts the words of each text of a corpus: a matrix, the terms of its columns, and the labels of
its rows."""

import argparse
import collections
import pathlib
import re

import scipy.io
import scipy.sparse

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("corpus", type=pathlib.Path)
p.add_argument("features", type=pathlib.Path)
p.add_argument("--min-df", type=int, default=1, help="in how many texts a term must be")
o = p.parse_args()

texts = sorted(o.corpus.glob("*/*.txt"))
counts = [collections.Counter(re.findall(r"[a-z]+", t.read_text().lower())) for t in texts]
frequency = collections.Counter(term for c in counts for term in c)
terms = sorted(t for t, n in frequency.items() if n >= o.min_df)

matrix = scipy.sparse.lil_matrix((len(texts), len(terms)), dtype=int)
for row, found in enumerate(counts):
    for column, term in enumerate(terms):
        if found[term]:
            matrix[row, column] = found[term]
scipy.io.mmwrite(o.features / "features.mtx", matrix.tocoo())
(o.features / "terms.txt").write_text("".join(t + "\n" for t in terms))
(o.features / "labels.txt").write_text("".join(t.parent.name + "\n" for t in texts))
