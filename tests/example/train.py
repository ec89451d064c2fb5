# SPDX-License-Identifier: GPL-3.0-or-later
"""Fits a model to three quarters of the rows and says how many of the others it gets right."""

import argparse
import json
import os
import pathlib

import scipy.io
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB

MODELS = {"bayes": lambda alpha: MultinomialNB(alpha=alpha),
          "logistic": lambda alpha: LogisticRegression(C=1 / alpha, max_iter=1000)}

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("features", type=pathlib.Path)
p.add_argument("result", type=pathlib.Path)
p.add_argument("--model", choices=MODELS, required=True)
p.add_argument("--alpha", type=float, default=1, help="how much is smoothed, or regularised")
o = p.parse_args()

x = scipy.io.mmread(o.features / "features.mtx").tocsr()
y = (o.features / "labels.txt").read_text().split()
is_test = [i % 4 == 3 for i in range(len(y))]
train = [i for i, t in enumerate(is_test) if not t]
test = [i for i, t in enumerate(is_test) if t]

model = MODELS[o.model](o.alpha).fit(x[train], [y[i] for i in train])
accuracy = model.score(x[test], [y[i] for i in test])
o.result.write_text(json.dumps({"model": o.model, "alpha": o.alpha, "accuracy": accuracy}) + "\n")
if "PFS_RUN" in os.environ:
    with open(os.environ["PFS_RUN"] + "/metrics", "a") as metrics:
        metrics.write(f"accuracy={accuracy}\n")
