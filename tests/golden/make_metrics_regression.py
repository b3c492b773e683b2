"""True and predicted numbers and the scores SciPy and scikit-learn give them.

Writes `metrics_regression.json`: written cases for the edges, and drawn ones.
"""

import json
import math
import pathlib
import random
import warnings

from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error

HERE = pathlib.Path(__file__).resolve().parent

HAND = {
    "two numbers, same order": ([1, 2], [3, 5]),
    "two numbers, other order": ([1, 2], [5, 3]),
    "the same numbers": ([0.5, 2, 4.5, 1], [0.5, 2, 4.5, 1]),
    "the opposite numbers": ([0.5, 2, 4.5, 1], [-0.5, -2, -4.5, -1]),
    "constant truth": ([0.1, 0.1, 0.1], [1, 2, 3]),
    "constant prediction": ([1, 2, 3], [0.3, 0.3, 0.3]),
    "constant both": ([2.5, 2.5], [2.5, 2.5]),
    "constant but for the sign of zero": ([1, 2, 3], [0.0, -0.0, 0.0]),
    "all but one equal": ([1, 1, 1, 1, 2], [3, 3, 3, 4, 3]),
    "zeros of both signs are equal": ([0.0, -0.0, 1, -1], [1, 2, 3, 0]),
    "same order, not linear": ([1, 2, 3, 4], [1, 8, 27, 64]),
    "ties on one side": ([1, 1, 2, 2, 3], [5, 4, 3, 2, 1]),
    "ties on both sides": ([1, 1, 2, 2, 3], [2, 2, 2, 3, 3]),
    "uncorrelated": ([-1, 0, 1], [1, 0, 1]),
    "far from zero": ([100000.5, 100001, 100002.5, 100001.5], [7, 9, 8, 9.5]),
    "tiny": ([1e-200, 2e-200, 4e-200], [2, 3, 3.5]),
    "huge": ([1e150, -2e150, 4e150], [2, 3, 3.5]),
    "sizes of all kinds": ([1e-6, 1, 1e6, -1e3], [0, 5, 4, -1e4]),
}


def drawn(rng, index):
    count = rng.randint(2, 16)
    # Alternately as continuous as three decimals are, and on the few steps of a rating.
    if index % 2:
        gold = [round(rng.uniform(0, 5), 3) for _ in range(count)]
    else:
        gold = [rng.randint(0, 5) / 1 for _ in range(count)]
    noise = rng.choice([0.1, 1, 5])
    sign = rng.choice([-1, 1])
    digits = rng.choice([0, 1, 3])
    return gold, [round(sign * number + rng.gauss(0, noise), digits) for number in gold]


def scored(name, gold, found):
    def number(score):
        # JSON has no NaN.
        return None if math.isnan(score) else float(score)

    return {
        "name": name,
        "gold": gold,
        "found": found,
        "pearson": number(pearsonr(gold, found).statistic),
        "spearman": number(spearmanr(gold, found).statistic),
        "mean_squared_error": float(mean_squared_error(gold, found)),
        "mean_absolute_error": float(mean_absolute_error(gold, found)),
    }


def main():
    # A constant side has no correlation; SciPy says NaN and warns.
    warnings.simplefilter("ignore")
    rng = random.Random(20240609)
    cases = [scored(name, gold, found) for name, (gold, found) in HAND.items()]
    cases += [scored(f"drawn {index}", *drawn(rng, index)) for index in range(200)]
    text = ",\n".join(json.dumps(case, separators=(",", ":"), allow_nan=False) for case in cases)
    (HERE / "metrics_regression.json").write_text('{"cases": [\n' + text + "\n]}\n")


if __name__ == "__main__":
    main()
