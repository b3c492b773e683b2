"""Tag sequences and the spans and scores `seqeval` gives them, in its default and its strict mode.

Writes `metrics_spans.json`: written cases for the rules, and drawn ones in IO, BIO and BIOES, well-formed
and not.
The default mode reads any tags, the strict one those of a scheme; where it refuses, `strict` is null.
`seqeval` has no scheme IO, so its strict mode gets one here, in its own terms.
"""

import json
import pathlib
import random
import warnings

from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support
from seqeval.scheme import IOB2, IOBES, Entities, Prefix, Tag, Token, auto_detect

HERE = pathlib.Path(__file__).resolve().parent

HAND = {
    "all right": ("B-a I-a O B-b", "B-a I-a O B-b"),
    "I after O begins a span": ("O B-a I-a", "O I-a I-a"),
    "I of another class begins a span": ("B-a I-a I-a", "B-a I-b I-b"),
    "I of another class between": ("B-a I-a I-a", "B-a I-b I-a"),
    "B splits a span": ("B-a I-a I-a", "B-a B-a I-a"),
    "half a span is wrong": ("B-a I-a I-a O", "B-a I-a O O"),
    "right place, wrong class": ("B-a I-a", "B-b I-b"),
    "nothing found": ("B-a I-a O", "O O O"),
    "nothing to find": ("O O O", "O B-a O"),
    "nothing at all": ("O O", "O O"),
    "no word": ("", ""),
    "a span at the very end": ("O O B-a", "O O B-a"),
    "a span of one word at the very end": ("O O S-a", "O O S-a"),
    "a span never closed": ("B-a I-a E-a", "B-a I-a I-a"),
    "a span never opened": ("B-a I-a E-a", "I-a I-a E-a"),
    "a lone B": ("S-a O B-b E-b", "B-a O B-b E-b"),
    "a lone E": ("S-a O B-b E-b", "E-a O B-b E-b"),
    "closed twice": ("B-a E-a S-a", "B-a E-a E-a"),
    "closed in another class": ("B-a E-a O", "B-a E-b O"),
    "opened again before it is closed": ("B-a I-a E-a", "B-a B-a E-a"),
    "S within a span": ("B-a I-a E-a", "B-a S-a E-a"),
    "I after S": ("S-a O O", "S-a I-a E-a"),
    "I after E": ("B-a E-a O O", "B-a E-a I-a E-a"),
    "IOBES": ("S-a O B-b I-b E-b S-a", "S-a O B-b I-b E-b B-a"),
    "E and S close": ("E-a I-a S-b E-b I-b", "S-a E-a E-a I-a O"),
    "classes with dashes": ("B-date-time I-date-time O", "B-date-time I-date O"),
    "dashes around a class": ("B-a- I-a- O B--b", "B-a- I-a O B-b"),
    "tags without class": ("B I O B", "I I O B"),
    "S and E without class": ("B E O S", "S E O E"),
    "nothing but I": ("I-a I-a I-b O I-b", "I-a I-b I-b O I-a"),
    "IO, two spans in one": ("I-a I-a O", "I-a O I-a"),
    "BIO found as IO": ("B-a I-a O B-a", "I-a I-a O I-a"),
    "BIO found as BIOES": ("B-a I-a O B-a", "B-a E-a O S-a"),
}


class IO(Token):
    """Neighbours of one class are one span."""

    allowed_prefix = Prefix.I | Prefix.O
    start_patterns = {(Prefix.O, Prefix.I, Tag.ANY), (Prefix.I, Prefix.I, Tag.DIFF)}
    inside_patterns = {(Prefix.I, Prefix.I, Tag.SAME)}
    end_patterns = {(Prefix.I, Prefix.O, Tag.ANY), (Prefix.I, Prefix.I, Tag.DIFF)}


SCHEMES = {"IO": IO, "BIO": IOB2, "BIOES": IOBES}


def smallest_scheme(sequences):
    """The smallest one that has all prefixes."""
    prefixes = {tag[0] for tags in sequences for tag in tags}
    return next(name for name, scheme in SCHEMES.items() if all(Prefix[p] in scheme.allowed_prefix for p in prefixes))


def detected(sequences):
    try:
        return auto_detect(sequences).__name__
    except ValueError:
        return None


def written(scheme, spans, length):
    """Tags of spans (class, first, last) in a scheme."""
    tags = ["O"] * length
    for name, first, last in spans:
        tags[first : last + 1] = [f"I-{name}"] * (last + 1 - first)
        if scheme != "IO":
            tags[first] = f"B-{name}"
        if scheme == "BIOES":
            tags[last] = f"S-{name}" if first == last else f"E-{name}"
    return tags


def drawn_spans(rng, length):
    at, spans = 0, []
    while True:
        first = at + rng.choice([0, 0, 1, 2])
        last = first + rng.choice([0, 0, 1, 2])
        if last >= length:
            return spans
        spans.append((rng.choice("xyz"), first, last))
        at = last + 1


def drawn(rng, scheme, well_formed):
    prefixes = scheme.replace("O", "")

    def noise(length):
        return ["O" if rng.random() < 0.4 else f"{rng.choice(prefixes)}-{rng.choice('xyz')}" for _ in range(length)]

    def sequence(length):
        return written(scheme, drawn_spans(rng, length), length) if well_formed else noise(length)

    gold = [sequence(rng.randint(1, 9)) for _ in range(rng.randint(1, 3))]
    # Mostly the truth, so that spans are right, wrong and half right.
    found = [[tag if rng.random() < 0.8 else other for tag, other in zip(one, noise(len(one)))] for one in gold]
    return gold, found


def short(score):
    """Seventeen digits say no more of a ratio of small integers than twelve."""
    return float(f"{score:.12g}")


def micro(gold, found, **mode):
    return [short(score(gold, found, **mode)) for score in (precision_score, recall_score, f1_score)]


def by_class(gold, found):
    precision, recall, f1, support = precision_recall_fscore_support(gold, found, average=None)
    classes = sorted({e[0] for e in get_entities(gold)} | {e[0] for e in get_entities(found)})
    rows = zip(classes, precision, recall, f1, support)
    return {c: [short(p), short(r), short(f), int(s)] for c, p, r, f, s in rows}


def strict(gold, found, scheme):
    try:
        entities = Entities(found, scheme).entities
        return {
            "entities": [[[e.tag, e.start, e.end - 1] for e in one] for one in entities],
            "micro": micro(gold, found, mode="strict", scheme=scheme),
        }
    except ValueError:
        return None


def scored(name, gold, found, scheme):
    return {
        "name": name,
        "scheme": scheme,
        "detected": detected(gold + found),
        "gold": [" ".join(tags) for tags in gold],
        "found": [" ".join(tags) for tags in found],
        "entities": [get_entities(one) for one in found],
        "micro": micro(gold, found),
        "by_class": by_class(gold, found),
        "strict": strict(gold, found, SCHEMES[scheme]),
    }


def main():
    # A class that is never found has no precision; seqeval says 0 and warns.
    warnings.simplefilter("ignore")
    rng = random.Random(20240607)
    cases = []
    for name, (gold, found) in HAND.items():
        gold, found = [gold.split()], [found.split()]
        # The scheme of the truth, which the prediction need not fit.
        cases.append(scored(name, gold, found, smallest_scheme(gold)))
    for scheme in SCHEMES:
        for index in range(200):
            cases.append(scored(f"drawn {scheme} {index}", *drawn(rng, scheme, index % 2 == 0), scheme))
    text = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (HERE / "metrics_spans.json").write_text('{"cases": [\n' + text + "\n]}\n")


if __name__ == "__main__":
    main()
