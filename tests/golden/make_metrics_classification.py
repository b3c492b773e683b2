"""Classes and sets of labels and the scores scikit-learn gives them.

Writes `metrics_classification.json`: written cases for the edges, and drawn ones.
"""

import json
import pathlib
import random
import warnings

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, precision_recall_fscore_support

HERE = pathlib.Path(__file__).resolve().parent

# Number of classes, true classes, predicted classes.
ONE_LABEL = {
    "all right": (2, "0101", "0101"),
    "all wrong": (2, "0101", "1010"),
    "one example, right": (2, "1", "1"),
    "one example, wrong": (2, "1", "0"),
    "one class in both": (2, "000", "000"),
    "the positive class in both": (2, "111", "111"),
    "never the positive class": (2, "0110", "0000"),
    "always the positive class": (2, "0110", "1111"),
    "nothing positive to find": (2, "0000", "0100"),
    "a single class": (1, "000", "000"),
    "a class in neither": (4, "0011", "0103"),
    "only the last class": (5, "444", "444"),
    "a class only in the truth": (3, "0122", "0111"),
    "a class only in the prediction": (3, "0011", "0012"),
    "always one of three": (3, "012012", "111111"),
    "always one, truly another": (3, "000", "222"),
    "rotated": (3, "012012", "120120"),
}

# Number of labels, true sets, predicted sets; a set is written as its digits.
MULTI_LABEL = {
    "all right": (3, "01 2 012", "01 2 012"),
    "all wrong": (2, "0 1", "1 0"),
    "no label in either": (2, "- -", "- -"),
    "an example without a label": (3, "- 01", "- 01"),
    "nothing found": (3, "01 2", "- -"),
    "nothing to find": (3, "- -", "0 12"),
    "a label in neither": (4, "0 1", "1 01"),
    "a label only in the truth": (3, "02 1", "0 1"),
    "a label only in the prediction": (3, "0 1", "02 1"),
    "too many": (3, "0 1 2", "012 012 012"),
    "too few": (3, "012 012", "0 1"),
    "one example": (3, "02", "01"),
}


def triple(scores):
    return [float(score) for score in scores[:3]]


def averages(gold, found, names):
    return {
        name: triple(precision_recall_fscore_support(gold, found, average=name, zero_division=0)) for name in names
    }


def by_class(gold, found, classes):
    scores = precision_recall_fscore_support(gold, found, labels=range(classes), average=None, zero_division=0)
    return [triple(one) for one in zip(*scores)]


def one_label(name, classes, gold, found):
    return {
        "name": name,
        "gold": gold,
        "found": found,
        "accuracy": float(accuracy_score(gold, found)),
        "by_class": by_class(gold, found, classes),
        **averages(gold, found, ["macro", "weighted", "micro"]),
        "binary_f1": float(f1_score(gold, found, zero_division=0)) if classes == 2 else None,
        "matthews": float(matthews_corrcoef(gold, found)),
    }


def multi_label(name, labels, gold, found):
    rows = [np.array([[int(label in one) for label in range(labels)] for one in sets]) for sets in (gold, found)]
    return {
        "name": name,
        "labels": labels,
        "gold": gold,
        "found": found,
        "by_label": by_class(*rows, labels),
        **averages(*rows, ["macro", "weighted", "micro", "samples"]),
        "subset_accuracy": float(accuracy_score(*rows)),
    }


def drawn_classes(rng, classes):
    # Uneven, so that some classes are rare or absent.
    weights = [rng.random() ** 3 for _ in range(classes)]
    gold = rng.choices(range(classes), weights, k=rng.randint(2, 24))
    skill = rng.random()
    found = [one if rng.random() < skill else rng.randrange(classes) for one in gold]
    return gold, found


def drawn_sets(rng, labels):
    often = [rng.random() ** 2 for _ in range(labels)]
    skill = rng.random()

    def drawn():
        return [label for label in range(labels) if rng.random() < often[label]]

    gold = [drawn() for _ in range(rng.randint(1, 8))]
    found = [one if rng.random() < skill else drawn() for one in gold]
    return gold, found


def main():
    warnings.simplefilter("ignore")
    rng = random.Random(20240608)
    one = [
        one_label(name, classes, [int(c) for c in gold], [int(c) for c in found])
        for name, (classes, gold, found) in ONE_LABEL.items()
    ]
    for index in range(320):
        # Most of them binary, because only those have the F1 of the positive class.
        classes = (2, 3, 2, 5, 2)[index % 5]
        one.append(one_label(f"drawn {index}", classes, *drawn_classes(rng, classes)))

    def sets(text):
        return [[int(c) for c in one if c != "-"] for one in text.split()]

    multi = [multi_label(name, labels, sets(gold), sets(found)) for name, (labels, gold, found) in MULTI_LABEL.items()]
    for index in range(190):
        labels = (2, 3, 4)[index % 3]
        multi.append(multi_label(f"drawn {index}", labels, *drawn_sets(rng, labels)))

    def lines(cases):
        return ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)

    text = '{"one_label": [\n' + lines(one) + '\n],\n"multi_label": [\n' + lines(multi) + "\n]}\n"
    (HERE / "metrics_classification.json").write_text(text)


if __name__ == "__main__":
    main()
