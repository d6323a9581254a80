//! Balance of a selection: caps on the share of labels that prefer longer answers, or one side.

use ser_core::Side;
use serde::{Deserialize, Serialize};

use crate::{Selected, StatusError};

/// Caps on the composition of a selection; the default has none.
///
/// If a class exceeds its cap, its least confident pairs (smallest Delta) are left out until it makes up at most its
/// share. A share of 0.5 gives equal halves; 1 caps nothing. If the rarer class has no pair, a cap under 1 leaves no pair
/// of the common one either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Balance {
    /// The largest share that may prefer the longer answer, and that may prefer the shorter one, of the pairs whose
    /// answers differ in length; from 0.5 to 1.
    pub max_length_share: Option<f64>,
    /// The largest share that may prefer side A, and that may prefer side B; from 0.5 to 1.
    pub max_side_share: Option<f64>,
}

/// The composition of a selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Composition {
    /// Pairs whose preferred answer is the longer one.
    pub longer: usize,
    /// Pairs whose preferred answer is the shorter one.
    pub shorter: usize,
    /// Pairs that prefer A.
    pub side_a: usize,
    /// Pairs that prefer B.
    pub side_b: usize,
}

impl Composition {
    /// Counts a selection; `lengths` has both answers' lengths for every pair of the pool, in any unit, such as tokens.
    ///
    /// # Errors
    /// [`StatusError::IndexOutOfPool`].
    pub fn new(selected: &[Selected], lengths: &[[usize; 2]]) -> Result<Self, StatusError> {
        let mut composition = Composition::default();
        for pair in selected {
            match prefers_longer(pair, lengths)? {
                Some(true) => composition.longer += 1,
                Some(false) => composition.shorter += 1,
                None => {}
            }
            match pair.preferred {
                Side::A => composition.side_a += 1,
                Side::B => composition.side_b += 1,
            }
        }
        Ok(composition)
    }
}

impl Balance {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`StatusError::SettingOutOfRange`].
    pub fn check(self) -> Result<CheckedBalance, StatusError> {
        let caps = [("max_length_share", self.max_length_share), ("max_side_share", self.max_side_share)];
        for (name, share) in caps {
            if let Some(value) = share.filter(|share| !(0.5..=1.0).contains(share)) {
                return Err(StatusError::SettingOutOfRange { name, value, range: "from 0.5 to 1" });
            }
        }
        Ok(CheckedBalance(self))
    }
}

/// Checked caps, made by [`Balance::check`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckedBalance(Balance);

impl CheckedBalance {
    /// The settings.
    pub fn get(&self) -> Balance {
        self.0
    }

    /// Leaves out pairs over the caps and keeps the order. `lengths` as in [`Composition::new`]; may be `None` if
    /// `max_length_share` is. Among pairs of equal Delta, the later one in the pool goes first.
    ///
    /// # Errors
    /// [`StatusError::LengthsMissing`], [`StatusError::IndexOutOfPool`].
    pub fn apply(
        &self,
        mut selected: Vec<Selected>,
        lengths: Option<&[[usize; 2]]>,
    ) -> Result<Vec<Selected>, StatusError> {
        // Trimming for one cap may exceed the other; every pass except the last removes pairs, so the loop ends.
        loop {
            let before = selected.len();
            if let Some(share) = self.0.max_length_share {
                let lengths = lengths.ok_or(StatusError::LengthsMissing)?;
                let classes = selected.iter().map(|s| prefers_longer(s, lengths)).collect::<Result<Vec<_>, _>>()?;
                trim(&mut selected, &classes, share);
            }
            if let Some(share) = self.0.max_side_share {
                let classes: Vec<_> = selected.iter().map(|s| Some(s.preferred == Side::A)).collect();
                trim(&mut selected, &classes, share);
            }
            if selected.len() == before {
                return Ok(selected);
            }
        }
    }
}

fn prefers_longer(pair: &Selected, lengths: &[[usize; 2]]) -> Result<Option<bool>, StatusError> {
    let &[a, b] =
        lengths.get(pair.index).ok_or(StatusError::IndexOutOfPool { index: pair.index, pool: lengths.len() })?;
    let (preferred, other) = if pair.preferred == Side::A { (a, b) } else { (b, a) };
    Ok((preferred != other).then_some(preferred > other))
}

/// Leaves out the least confident pairs of the more common class, so that it makes up at most `share` of both.
fn trim(selected: &mut Vec<Selected>, classes: &[Option<bool>], share: f64) {
    let count = |class| classes.iter().filter(|c| **c == Some(class)).count();
    let (yes, no) = (count(true), count(false));
    let (common, rarer) = if yes > no { (true, no) } else { (false, yes) };
    // The largest x with x / (x + rarer) <= share; the small addition is for rounded quotients like 0.75 / 0.25.
    let most = if share < 1.0 { (rarer as f64 * share / (1.0 - share) + 1e-9).floor() as usize } else { usize::MAX };
    let mut indices: Vec<usize> =
        classes.iter().enumerate().filter(|(_, c)| **c == Some(common)).map(|(index, _)| index).collect();
    if indices.len() <= most {
        return;
    }
    let delta = |index: &usize| selected.get(*index).map_or(0.0, |s| s.delta);
    // Stable: of equal Deltas the earlier pair stays.
    indices.sort_by(|x, y| delta(y).total_cmp(&delta(x)));
    let mut keep = vec![true; selected.len()];
    for index in indices.into_iter().skip(most) {
        if let Some(keep) = keep.get_mut(index) {
            *keep = false;
        }
    }
    let mut keep = keep.into_iter();
    selected.retain(|_| keep.next().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use super::*;
    use ser_core::LearningStatus;

    fn selection(pairs: &[(Side, f64)]) -> Vec<Selected> {
        let status = LearningStatus::Status2;
        pairs
            .iter()
            .enumerate()
            .map(|(index, &(preferred, delta))| Selected { index, preferred, status, delta })
            .collect()
    }

    fn indices(selected: &[Selected]) -> Vec<usize> {
        selected.iter().map(|s| s.index).collect()
    }

    #[test]
    fn the_least_confident_of_the_common_class_go() {
        // All prefer A; the first four are longer, the next shorter, the last of equal length.
        let selected = selection(&[
            (Side::A, 0.5),
            (Side::A, 0.9),
            (Side::A, 0.4),
            (Side::A, 0.6),
            (Side::A, 0.35),
            (Side::A, 0.31),
        ]);
        let lengths = [[9, 1], [9, 1], [9, 1], [9, 1], [1, 9], [5, 5]];
        let kept = |share| {
            let balance = Balance { max_length_share: Some(share), ..Balance::default() };
            indices(&balance.check().unwrap().apply(selected.clone(), Some(&lengths)).unwrap())
        };
        assert_eq!(kept(0.5), [1, 4, 5]);
        assert_eq!(kept(0.75), [0, 1, 3, 4, 5]);
        assert_eq!(kept(1.0), [0, 1, 2, 3, 4, 5]);
        assert_eq!(indices(&Balance::default().check().unwrap().apply(selected, None).unwrap()), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn equal_deltas_keep_the_earlier_pair() {
        let selected = selection(&[(Side::B, 0.5), (Side::A, 0.5), (Side::A, 0.5), (Side::A, 0.5)]);
        let balance = Balance { max_side_share: Some(0.5), ..Balance::default() };
        assert_eq!(indices(&balance.check().unwrap().apply(selected, None).unwrap()), [0, 1]);
    }

    #[test]
    fn bad_settings_and_missing_lengths_are_errors() {
        let selected = selection(&[(Side::A, 0.5), (Side::B, 0.5)]);
        let balance = Balance { max_length_share: Some(0.6), ..Balance::default() };
        assert!(matches!(balance.check().unwrap().apply(selected.clone(), None), Err(StatusError::LengthsMissing)));
        let error = balance.check().unwrap().apply(selected.clone(), Some(&[[1, 2]])).unwrap_err().to_string();
        assert!(error.starts_with("a selected pair has index 1, but the pool has 1 pairs"), "{error}");
        let balance = Balance { max_side_share: Some(0.4), ..Balance::default() };
        let error = balance.check().unwrap_err().to_string();
        assert_eq!(error, "max_side_share is 0.4: give a number from 0.5 to 1");
    }
}
