"""Answers to questions and the scores the evaluations of SQuAD v1.1 and v2.0 give them.

Writes `metrics_squad.json`: a pool of written and drawn questions, each scored alone, and drawn
evaluations of some of them.

No package that is pinned here carries the evaluations, so they are written down below, after
Rajpurkar et al. 2016 (section 6.1) and 2018.
The results equal those of the published scripts, as huggingface/evaluate keeps them in
`metrics/squad` and `metrics/squad_v2`, on all that is drawn here and on 3,000 further evaluations.
"""

import json
import pathlib
import random
import re
import string
from collections import Counter

HERE = pathlib.Path(__file__).resolve().parent

ARTICLE = re.compile(r"\b(?:a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)

# True answers and the predicted one.
HAND = [
    # What normalization is for.
    (["Denver Broncos"], "Denver Broncos"),
    (["Denver Broncos"], "the Denver Broncos"),
    (["Denver Broncos"], "DENVER BRONCOS!"),
    (["Denver Broncos"], "Broncos"),
    (["Denver Broncos"], "Broncos of Denver"),
    (["Denver Broncos"], "Carolina Panthers"),
    (["Denver Broncos", "The Broncos", "Broncos"], "broncos"),
    (["Santa Clara, California", "Levi's Stadium"], "Levis Stadium in Santa Clara California"),
    (["1,000"], "1000"),
    (["$5.50"], "550"),
    (["U.S."], "us"),
    (["well-known"], "well known"),
    (["well-known"], "wellknown"),
    (["an apple a day"], "apple day"),
    (["  two \t words\n"], "two words"),
    # Words count as often as they occur.
    (["new york new york"], "new york"),
    (["new york"], "new new new york"),
    (["very very good"], "very good good"),
    # Articles are whole words, after punctuation has gone.
    (["theory of another"], "ory of other"),
    (["a.b"], "ab"),
    (["A. B"], "b"),
    (["a-team"], "ateam"),
    (["a_team"], "ateam"),
    (["the_end"], "end"),
    (["l'an"], "lan"),
    (["(the) end"], "end"),
    (["the the the end"], "end"),
    # Answers of nothing but articles and punctuation.
    (["the"], ""),
    (["the"], "a"),
    (["the"], "the"),
    (["The A"], "..."),
    (["the"], "end"),
    (["end"], "the"),
    (["the", "end"], "the"),
    (["the", "end"], "end"),
    (["..."], "!"),
    ([""], ""),
    ([""], "end"),
    (["end", ""], ""),
    (["end"], ""),
    (["end"], "  "),
    # No answer.
    ([], ""),
    ([], "end"),
    ([], "the"),
    ([], " . "),
    # Beyond ASCII: other punctuation stays.
    (["“the” end"], "end"),
    (["the–end"], "end"),
    (["¿qué?"], "qué"),
    (["5％"], "5%"),
    # Articles beside marks, joiners, circled letters and digits.
    (["a\u0301 la carte"], "la carte"),
    (["\u00e1 la carte"], "a\u0301 la carte"),
    (["the\u0301"], "\u0301"),
    (["a\u200db"], "\u200db"),
    (["the\u24b6"], "\u24d0"),
    (["a\u00b2"], "\u00b2"),
    (["the\u0661"], "\u0661"),
    (["a\u2167"], "\u2177"),
    (["the\u3007"], "\u3007"),
    (["an\u0903 x"], "\u0903 x"),
    (["a\u203fb"], "\u203fb"),
    (["\uff54\uff48\uff45 end"], "end"),
    (["the中"], "中"),
    # Lower case.
    (["ΟΔΟΣ"], "οδος"),
    (["ΟΔΟΣ ΣΑΣ"], "οδοσ σας"),
    (["Σ"], "σ"),
    (["ΑΣ."], "ας"),
    (["ΑΣ'Α"], "ασα"),
    (["İstanbul"], "i\u0307stanbul"),
    (["STRASSE"], "straße"),
    (["ǅ"], "ǆ"),
    (["ÀÉÎ"], "àéî"),
    (["\u212a"], "k"),
    # White space.
    (["two\u00a0words"], "two words"),
    (["two\u3000words"], "two words"),
    (["two\u2028words"], "two words"),
    (["two\u0085words"], "two words"),
    (["two\x1cwords"], "two words"),
    (["two\x1fwords"], "two words"),
    (["two\u200bwords"], "two words"),
    (["two\u180ewords"], "two words"),
    (["two\u2060words"], "two words"),
    (["\ufefftwo words"], "two words"),
    (["\x1d"], ""),
    (["\u200b"], ""),
]

WORDS = (
    "the The a A an AN of in to cat cats Cat dog New york 1999 1,999 U.S. don't dont a's the-end _ ... $5 "
    "café cafe\u0301 a\u0301 “a” ΟΔΟΣ οδος İs ß ⓐ ² a² 一 ａ the\u200d \u0301"
).split()
SPACES = [" "] * 12 + ["  ", "\t", "\n", "\u00a0", "\u3000", "\x1c", "\u200b", "-", ", ", "/"]


def normalized(answer):
    bare = answer.lower().translate(WITHOUT_PUNCTUATION)
    return " ".join(ARTICLE.sub(" ", bare).split())


def exact(gold, predicted):
    return float(normalized(gold) == normalized(predicted))


def f1_v1(gold, predicted):
    gold, predicted = normalized(gold).split(), normalized(predicted).split()
    shared = sum((Counter(gold) & Counter(predicted)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def f1_v2(gold, predicted):
    if not normalized(gold) or not normalized(predicted):
        return exact(gold, predicted)
    return f1_v1(gold, predicted)


def score_v1(gold, predicted):
    return [max(score(one, predicted) for one in gold) for score in (exact, f1_v1)]


def score_v2(gold, predicted):
    real = [one for one in gold if normalized(one)] or [""]
    return [max(score(one, predicted) for one in real) for score in (exact, f1_v2)]


def percent(scores):
    """Mean exact match and F1 with the number of questions; None of no question."""
    if not scores:
        return None
    return [100.0 * sum(column) / len(scores) for column in zip(*scores)] + [len(scores)]


def best_threshold(questions, scores):
    """The best mean score in percent and the `no_answer` up to which a question is answered for it.

    From no question answered, where those without an answer are right, to all answered.
    """
    best = total = sum(1 for gold, _, _ in questions if not gold)
    threshold = 0.0
    for index in sorted(range(len(questions)), key=lambda index: questions[index][2]):
        gold, predicted, no_answer = questions[index]
        if gold:
            total += scores[index]
        elif predicted:
            total -= 1
        if total > best:
            best, threshold = total, no_answer
    return [100.0 * best / len(questions), threshold]


def evaluated(pool, chosen, threshold):
    questions = [(*pool[index], no_answer) for index, no_answer in chosen]
    raw = [score_v2(gold, predicted) for gold, predicted, _ in questions]
    applied = [
        [float(not gold)] * 2 if no_answer > threshold else score
        for (gold, _, no_answer), score in zip(questions, raw)
    ]
    return {
        "questions": chosen,
        "threshold": threshold,
        "v1": percent([score_v1(gold, predicted) for gold, predicted, _ in questions if gold]),
        "total": percent(applied),
        "has_answer": percent([score for (gold, _, _), score in zip(questions, applied) if gold]),
        "no_answer": percent([score for (gold, _, _), score in zip(questions, applied) if not gold]),
        "best_exact_match": best_threshold(questions, [exact_match for exact_match, _ in raw]),
        "best_f1": best_threshold(questions, [f1 for _, f1 in raw]),
    }


def drawn_answer(rng, words):
    text = "".join(rng.choice(words) + rng.choice(SPACES) for _ in range(rng.randint(1, 5)))
    return text[:-1] if rng.random() < 0.8 else text


def drawn_question(rng):
    if rng.random() < 0.2:
        return [], "" if rng.random() < 0.5 else drawn_answer(rng, WORDS)
    # Few words, so that answers share some.
    words = rng.sample(WORDS, 5)
    gold = [drawn_answer(rng, words) for _ in range(rng.randint(1, 3))]
    predicted = rng.choice(gold).upper() if rng.random() < 0.3 else drawn_answer(rng, words)
    return gold, "" if rng.random() < 0.1 else predicted


def drawn_set(rng, pool, index):
    # Probabilities, a few of them so that there are ties, or differences of scores.
    draw = (
        lambda: round(rng.random(), 3),
        lambda: rng.choice([0.0, 0.25, 0.5, 1.0]),
        lambda: round(rng.gauss(0, 5), 2),
        lambda: 0.0,
    )[index % 4]
    threshold = rng.choice([1.0, 0.0, 0.5, draw()])
    chosen = [(rng.randrange(len(pool)), draw()) for _ in range(rng.randint(1, 12))]
    return evaluated(pool, chosen, threshold)


def main():
    rng = random.Random(20240610)
    pool = HAND + [drawn_question(rng) for _ in range(220)]
    questions = [
        {
            "gold": gold,
            "predicted": predicted,
            "normalized": normalized(predicted),
            "v1": score_v1(gold, predicted) if gold else None,
            "v2": score_v2(gold, predicted),
        }
        for gold, predicted in pool
    ]
    sets = [drawn_set(rng, pool, index) for index in range(240)]

    def lines(cases):
        # Escapes, because half of the point are characters that do not show.
        return ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)

    text = '{"questions": [\n' + lines(questions) + '\n],\n"sets": [\n' + lines(sets) + "\n]}\n"
    (HERE / "metrics_squad.json").write_text(text)


if __name__ == "__main__":
    main()
