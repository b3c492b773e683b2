"""Figures that a trained model has to beat, without any model: python tests/peers/floors.py FILE…

* label<TAB>text… (.tsv): the share of the most frequent label;
* SQuAD JSON: exact match and F1, as the official script counts them, of two answers that look at no
  meaning: a random span of three words (mean of 100 draws, seed 1), and the sentence of the context that
  shares most words with the question.
"""

import collections
import json
import lzma
import random
import re
import string
import sys


def normalized(text):
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def f1(gold, found):
    gold, found = normalized(gold), normalized(found)
    same = sum((collections.Counter(gold) & collections.Counter(found)).values())
    if not gold or not found or not same:
        return float(gold == found)
    precision, recall = same / len(found), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def scores(answers, found):
    return max(f1(a, found) for a in answers), max(normalized(a) == normalized(found) for a in answers)


def percent(rows):
    return [100 * sum(row[i] for row in rows) / len(rows) for i in range(2)]


def questions(path):
    with (lzma.open if path.endswith(".xz") else open)(path, "rt", encoding="utf-8") as file:
        for article in json.load(file)["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    answers = [answer["text"] for answer in question["answers"]]
                    if answers:
                        yield paragraph["context"], question["question"], answers


def spans(path):
    draw = random.Random(1)
    drawn, overlapping = [], []
    for context, question, answers in questions(path):
        words = context.split()
        for _ in range(100):
            first = draw.randrange(len(words))
            drawn.append(scores(answers, " ".join(words[first : first + 3])))
        asked = set(normalized(question))
        sentences = re.split(r"(?<=[.!?])\s+", context)
        overlapping.append(scores(answers, max(sentences, key=lambda s: len(asked & set(normalized(s))))))
    for name, rows in [("a random span of three words", drawn), ("the most similar sentence", overlapping)]:
        print("{}: {}: F1 {:.2f} %, exact match {:.2f} %".format(path, name, *percent(rows)))


def majority(path):
    with open(path, encoding="utf-8") as file:
        labels = collections.Counter(line.split("\t")[0] for line in file if line.strip())
    label, count = labels.most_common(1)[0]
    print(f"{path}: {label}: {100 * count / labels.total():.2f} % of {labels.total()}")


for path in sys.argv[1:]:
    majority(path) if path.endswith(".tsv") else spans(path)
