"""Tag sequences and the spans and scores `seqeval` gives them.

Writes `metrics.json`: written cases for the rules, and drawn ones, well-formed and not.
"""

import json
import pathlib
import random
import warnings

from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support

HERE = pathlib.Path(__file__).resolve().parent

HAND = {
    "all right": ("B-a I-a O B-b", "B-a I-a O B-b"),
    "I after O begins a span": ("O B-a I-a", "O I-a I-a"),
    "I of another class begins a span": ("B-a I-a I-a", "B-a I-b I-b"),
    "B splits a span": ("B-a I-a I-a", "B-a B-a I-a"),
    "half a span is wrong": ("B-a I-a I-a O", "B-a I-a O O"),
    "right place, wrong class": ("B-a I-a", "B-b I-b"),
    "nothing found": ("B-a I-a O", "O O O"),
    "nothing to find": ("O O O", "O B-a O"),
    "nothing at all": ("O O", "O O"),
    "a span at the very end": ("O O B-a", "O O B-a"),
    "IOBES": ("S-a O B-b I-b E-b S-a", "S-a O B-b I-b E-b B-a"),
    "E and S close": ("E-a I-a S-b E-b I-b", "S-a E-a E-a I-a O"),
    "classes with dashes": ("B-date-time I-date-time O", "B-date-time I-date O"),
    "tags without class": ("B I O B", "I I O B"),
    "nothing but I": ("I-a I-a I-b O I-b", "I-a I-b I-b O I-a"),
}


def drawn(rng, prefixes):
    def sequence(length):
        return ["O" if rng.random() < 0.4 else f"{rng.choice(prefixes)}-{rng.choice('xyz')}" for _ in range(length)]

    gold = [sequence(rng.randint(1, 10)) for _ in range(rng.randint(1, 4))]
    # Mostly the truth, so that spans are right, wrong and half right.
    found = [[tag if rng.random() < 0.8 else other for tag, other in zip(one, sequence(len(one)))] for one in gold]
    return gold, found


def scored(name, gold, found):
    precision, recall, f1, support = precision_recall_fscore_support(gold, found, average=None)
    classes = sorted({e[0] for e in get_entities(gold)} | {e[0] for e in get_entities(found)})
    return {
        "name": name,
        "gold": [" ".join(tags) for tags in gold],
        "found": [" ".join(tags) for tags in found],
        "entities": [get_entities(one) for one in found],
        "micro": [float(score(gold, found)) for score in (precision_score, recall_score, f1_score)],
        "by_class": {
            c: [float(p), float(r), float(f), int(s)] for c, p, r, f, s in zip(classes, precision, recall, f1, support)
        },
    }


def main():
    # A class that is never found has no precision; seqeval says 0 and warns.
    warnings.simplefilter("ignore")
    rng = random.Random(20240607)
    cases = [scored(name, [gold.split()], [found.split()]) for name, (gold, found) in HAND.items()]
    for index in range(100):
        cases.append(scored(f"drawn BIO {index}", *drawn(rng, "BI")))
        cases.append(scored(f"drawn IOBES {index}", *drawn(rng, "BIES")))
    text = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (HERE / "metrics.json").write_text('{"cases": [\n' + text + "\n]}\n")


if __name__ == "__main__":
    main()
