//! Lengths of the sequences of a batch.

/// Lengths of sixteen sequences in 64ths of the longest: the quantiles (i + ½) / 16 of a log-normal
/// distribution with median 36 / 64 and σ 0.65, cut at the longest. Texts have such lengths; three of
/// sixteen here are longer than the model reads. Padded to the longest, 40 % of a batch is padding.
///
/// `tests/peers/lengths.py` has the same table, so that both draw the same batches.
const RAGGED: [usize; 16] = [11, 15, 19, 22, 25, 28, 31, 34, 38, 42, 47, 52, 60, 64, 64, 64];

/// Lengths of `sequences` sequences of at most `longest` tokens, those of step `step`.
///
/// Sixteen sequences behind one another have every length of the table, in an order that changes with
/// the step: steps of a multiple of 16 sequences have the same number of tokens.
pub(super) fn ragged(sequences: usize, longest: usize, step: u64) -> Vec<usize> {
    let at = |sequence: usize| (7 * sequence + (3 * step % 16) as usize) % RAGGED.len();
    (0..sequences).map(|sequence| (longest * RAGGED[at(sequence)]).div_ceil(64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that `python tests/peers/lengths.py` checks on its side.
    #[test]
    fn the_lengths_are_those_of_the_peers() {
        assert_eq!(ragged(5, 128, 0), [22, 68, 128, 56, 120]);
        assert_eq!(ragged(3, 30, 2), [15, 30, 12]);
        for step in 0..16 {
            assert_eq!(ragged(32, 128, step).iter().sum::<usize>(), 2 * 1232);
        }
    }
}
