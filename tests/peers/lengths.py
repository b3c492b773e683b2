"""Lengths of the sequences of a batch: the table of `bert-trainer/src/cli/bench/lengths.rs`, which says
where it comes from. `python tests/peers/lengths.py` checks the numbers that the test there checks."""

RAGGED = [11, 15, 19, 22, 25, 28, 31, 34, 38, 42, 47, 52, 60, 64, 64, 64]


def ragged(sequences, longest, step):
    """Lengths of `sequences` sequences of at most `longest` tokens, those of step `step`."""
    shares = [RAGGED[(7 * sequence + 3 * step) % 16] for sequence in range(sequences)]
    return [-(-longest * share // 64) for share in shares]


if __name__ == "__main__":
    assert ragged(5, 128, 0) == [22, 68, 128, 56, 120]
    assert ragged(3, 30, 2) == [15, 30, 12]
    assert all(sum(ragged(32, 128, step)) == 2 * 1232 for step in range(16))
