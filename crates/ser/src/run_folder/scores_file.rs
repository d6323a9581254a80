//! Scores and selections as JSON lines, for resumed runs, other programs and people.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use ser_core::{LearningStatus, Pair, PairId, PairProbabilities, PairScores, RawScore, Side};
use serde::{Deserialize, Serialize};

use crate::Error;

/// A line of a scores file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScoresLine {
    id: PairId,
    /// Raw scores, A's first.
    raw: [RawScore; 2],
}

/// A line of `selection.jsonl`: a pseudo-label with its lineage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct SelectionLine {
    pub(crate) id: PairId,
    /// The iteration that the label is for, from 1.
    #[serde(rename = "round")]
    pub(crate) iteration: u32,
    /// Raw scores, A's first.
    pub(crate) raw: [f64; 2],
    /// Anchored probabilities, A's first.
    pub(crate) probability: [f64; 2],
    pub(crate) delta: f64,
    pub(crate) status: LearningStatus,
    pub(crate) preferred: Side,
    /// Whether the label contradicts the pair's label of the previous iteration.
    pub(crate) flipped: bool,
}

/// Both probabilities, A's first.
pub(crate) fn both(probabilities: PairProbabilities) -> [f64; 2] {
    [probabilities.a.get(), probabilities.b.get()]
}

/// Writes values as JSON lines.
pub(crate) fn write_lines<T: Serialize>(
    out: &mut dyn Write,
    path: &Path,
    lines: impl IntoIterator<Item = T>,
) -> Result<(), Error> {
    for line in lines {
        serde_json::to_writer(&mut *out, &line).map_err(|e| Error::io("write", path)(e.into()))?;
        out.write_all(b"\n").map_err(Error::io("write", path))?;
    }
    Ok(())
}

/// Writes the scores of `pairs`, one line each.
pub(crate) fn write_scores(
    out: &mut dyn Write,
    path: &Path,
    pairs: &[Arc<Pair>],
    scores: &[PairScores],
) -> Result<(), Error> {
    let lines = pairs.iter().zip(scores);
    write_lines(out, path, lines.map(|(p, s)| ScoresLine { id: p.id, raw: [s.a, s.b] }))
}

/// Reads the scores of the pairs with exactly these ids, in this order.
pub(crate) fn read_scores(path: &Path, ids: impl ExactSizeIterator<Item = PairId>) -> Result<Vec<PairScores>, Error> {
    let format = |line: usize, what: &dyn std::fmt::Display| Error::Format {
        path: path.to_owned(),
        message: format!("line {}: {what}", line + 1),
    };
    let mut file = BufReader::new(File::open(path).map_err(Error::io("read", path))?);
    let (mut scores, mut line) = (Vec::with_capacity(ids.len()), String::new());
    let mut next = |line: &mut String| {
        line.clear();
        file.read_line(line).map_err(Error::io("read", path))
    };
    for (index, id) in ids.enumerate() {
        if next(&mut line)? == 0 {
            return Err(format(index, &"the file ends before the pairs do"));
        }
        let line: ScoresLine = serde_json::from_str(&line).map_err(|e| format(index, &e))?;
        if line.id != id {
            return Err(format(index, &"another pair's scores"));
        }
        let [a, b] = line.raw;
        scores.push(PairScores { a, b });
    }
    if next(&mut line)? > 0 {
        return Err(format(scores.len(), &"another pair's scores"));
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_come_back_bit_for_bit() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("scores.jsonl");
        let odd = [0.1 + 0.2, -0.0, f64::MIN_POSITIVE / 3.0, 1e300 / 7.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let scores: Vec<_> = odd.iter().map(|&x| PairScores::new(x, 1.0 / 3.0)).collect();
        let pairs: Vec<_> =
            (0..scores.len() as u64).map(|i| Arc::new(Pair::from_text(PairId(i), "q", "a", "b"))).collect();
        let mut out = Vec::new();
        write_scores(&mut out, &path, &pairs, &scores).unwrap();
        std::fs::write(&path, &out).unwrap();
        let back = read_scores(&path, pairs.iter().map(|pair| pair.id)).unwrap();
        for (was, is) in scores.iter().zip(&back) {
            assert!(was.a.0.to_bits() == is.a.0.to_bits() || (was.a.0.is_nan() && is.a.0.is_nan()), "{was:?} {is:?}");
            assert_eq!(was.b.0.to_bits(), is.b.0.to_bits());
        }
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("{\"id\":4,\"raw\":[\"nan\",0.3333333333333333]}"), "{text}");
    }

    #[test]
    fn other_pairs_and_missing_ones_are_an_error_with_the_line() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("scores.jsonl");
        for (text, line) in [
            ("{\"id\":0,\"raw\":[1,2]}\n", "line 2: the file ends"),
            ("{\"id\":0,\"raw\":[1,2]}\n{\"id\":7,\"raw\":[1,2]}\n", "line 2: another"),
            ("{\"id\":0,\"raw\":[1]}\n", "line 1: "),
            ("{\"id\":0,\"raw\":[1,2]}\n{\"id\":1,\"raw\":[1,2]}\n{\"id\":2,\"raw\":[1,2]}\n", "line 3: another"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read_scores(&path, [0, 1].map(PairId).into_iter()).unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
        }
    }
}
