//! Functions that make implementations of the traits out of closures.
//!
//! They are functions instead of blanket implementations, so that `&mut T` and `Box<T>` implement the traits too.

use std::sync::Arc;

use ndarray::ArrayView2;

use crate::{
    BoxError, Context, Control, Event, Judge, LearningStatus, LossOutput, Message, Observer, Pair, PairLoss,
    PairScores, PairTarget, PoolView, Reward, Scorer, StatusRule, Verdict,
};

macro_rules! adapter {
    ($(#[$doc:meta])* $function:ident, $(#[$type_doc:meta])* $name:ident, $($bounds:tt)*) => {
        $(#[$type_doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<F>(F);

        adapter!(@function $(#[$doc])* $function, $name, $($bounds)*);
    };
    (@function $(#[$doc:meta])* $function:ident, $name:ident, [$($extra:ident),*] $($bounds:tt)*) => {
        $(#[$doc])*
        pub fn $function<F, $($extra),*>(f: F) -> $name<F>
        where
            F: $($bounds)*
        {
            $name(f)
        }
    };
}

adapter! {
    /// A [`Scorer`] that calls a closure.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use std::sync::Arc;
    /// use ser_core::{Context, Pair, PairId, PairScores, Scorer, scorer_fn};
    ///
    /// // Prefers the longer answer.
    /// let mut scorer = scorer_fn(|pairs, _cx| {
    ///     let score = |pair: &Arc<Pair>| PairScores::from(pair.responses.each_ref().map(|text| text.len() as f64));
    ///     Ok::<_, Infallible>(pairs.iter().map(score).collect())
    /// });
    /// let pair = Arc::new(Pair::from_text(PairId(0), "Why?", "Because it rains.", "So."));
    /// assert!(scorer.score(&[pair], &mut Context::silent())?[0].margin() > 0.0);
    /// # Ok::<(), Infallible>(())
    /// ```
    scorer_fn,
    /// Made by [`scorer_fn`].
    ScorerFn, [E] FnMut(&[Arc<Pair>], &mut Context<'_>) -> Result<Vec<PairScores>, E> + Send
}

impl<F, E> Scorer for ScorerFn<F>
where
    F: FnMut(&[Arc<Pair>], &mut Context<'_>) -> Result<Vec<PairScores>, E> + Send,
    E: Into<BoxError> + Send + 'static,
{
    type Error = E;

    fn score(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<PairScores>, E> {
        (self.0)(pairs, cx)
    }
}

adapter! {
    /// A [`Judge`] that calls a closure.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use ser_core::{Context, Judge, Verdict, judge_fn};
    ///
    /// let mut undecided = judge_fn(|pairs, _cx| Ok::<_, Infallible>(vec![Verdict::Tie; pairs.len()]));
    /// assert!(undecided.judge(&[], &mut Context::silent())?.is_empty());
    /// # Ok::<(), Infallible>(())
    /// ```
    judge_fn,
    /// Made by [`judge_fn`].
    JudgeFn, [E] FnMut(&[Arc<Pair>], &mut Context<'_>) -> Result<Vec<Verdict>, E> + Send
}

impl<F, E> Judge for JudgeFn<F>
where
    F: FnMut(&[Arc<Pair>], &mut Context<'_>) -> Result<Vec<Verdict>, E> + Send,
    E: Into<BoxError> + Send + 'static,
{
    type Error = E;

    fn judge(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<Verdict>, E> {
        (self.0)(pairs, cx)
    }
}

adapter! {
    /// A [`Reward`] that calls a closure for each prompt and answer.
    ///
    /// ```
    /// use ser_core::{Context, Message, Reward, reward_fn};
    ///
    /// let mut short = reward_fn(|_prompt, answer| -(answer.len() as f64));
    /// let prompt = [Message::user("Why?")];
    /// assert_eq!(short.reward(&[(&prompt, "So.")], &mut Context::silent())?, [-3.0]);
    /// # Ok::<(), std::convert::Infallible>(())
    /// ```
    reward_fn,
    /// Made by [`reward_fn`].
    RewardFn, [] FnMut(&[Message], &str) -> f64 + Send
}

impl<F> Reward for RewardFn<F>
where
    F: FnMut(&[Message], &str) -> f64 + Send,
{
    type Error = std::convert::Infallible;

    fn reward(&mut self, answers: &[(&[Message], &str)], _cx: &mut Context<'_>) -> Result<Vec<f64>, Self::Error> {
        Ok(answers.iter().map(|(prompt, answer)| (self.0)(prompt, answer)).collect())
    }
}

adapter! {
    /// A [`StatusRule`] that calls a closure.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use ser_core::{LearningStatus, PairProbabilities, PoolView, StatusRule, rule_fn};
    ///
    /// let wide = rule_fn(|pool| {
    ///     let status = |pair: &PairProbabilities| match pair.delta() > 0.5 {
    ///         true => LearningStatus::Status2,
    ///         false => LearningStatus::Stop,
    ///     };
    ///     Ok::<_, Infallible>(pool.probabilities().iter().map(status).collect())
    /// });
    /// let pool = [PairProbabilities::unchecked(0.9, 0.2), PairProbabilities::unchecked(0.6, 0.5)];
    /// assert_eq!(wide.classify(&PoolView::new(&pool))?, [LearningStatus::Status2, LearningStatus::Stop]);
    /// # Ok::<(), Infallible>(())
    /// ```
    rule_fn,
    /// Made by [`rule_fn`].
    RuleFn, [E] Fn(&PoolView<'_>) -> Result<Vec<LearningStatus>, E> + Send + Sync
}

impl<F, E> StatusRule for RuleFn<F>
where
    F: Fn(&PoolView<'_>) -> Result<Vec<LearningStatus>, E> + Send + Sync,
    E: Into<BoxError> + Send + 'static,
{
    type Error = E;

    fn classify(&self, pool: &PoolView<'_>) -> Result<Vec<LearningStatus>, E> {
        (self.0)(pool)
    }
}

adapter! {
    /// A [`PairLoss`] that calls a closure.
    ///
    /// ```
    /// use ser_core::ndarray::{Array2, array};
    /// use ser_core::{LossOutput, PairLoss, loss_fn};
    ///
    /// // The mean of r_other - r_preferred.
    /// let linear = loss_fn(|scores, _targets| {
    ///     let n = scores.nrows() as f64;
    ///     let value = scores.rows().into_iter().map(|row| (row[1] - row[0]) / n).sum();
    ///     let gradient = Array2::from_shape_fn(scores.dim(), |(_, side)| if side == 0 { -1.0 / n } else { 1.0 / n });
    ///     Ok(LossOutput { value, gradient })
    /// });
    /// assert_eq!(linear.evaluate(array![[2.0, 0.5]].view(), &[])?.value, -1.5);
    /// # Ok::<(), ser_core::BoxError>(())
    /// ```
    loss_fn,
    /// Made by [`loss_fn`].
    LossFn, [] Fn(ArrayView2<'_, f64>, &[PairTarget]) -> Result<LossOutput, BoxError> + Send + Sync
}

impl<F> PairLoss for LossFn<F>
where
    F: Fn(ArrayView2<'_, f64>, &[PairTarget]) -> Result<LossOutput, BoxError> + Send + Sync,
{
    fn evaluate(&self, scores: ArrayView2<'_, f64>, targets: &[PairTarget]) -> Result<LossOutput, BoxError> {
        (self.0)(scores, targets)
    }
}

adapter! {
    /// An [`Observer`] that calls a closure.
    ///
    /// ```
    /// use ser_core::{Control, Event, Observer, observer_fn};
    ///
    /// let mut notes = Vec::new();
    /// let mut observer = observer_fn(|event| {
    ///     if let Event::Note { text } = event {
    ///         notes.push(text.to_string());
    ///     }
    ///     Control::Continue
    /// });
    /// assert_eq!(observer.observe(&Event::Note { text: "warning" }), Control::Continue);
    /// assert_eq!(notes, ["warning"]);
    /// ```
    observer_fn,
    /// Made by [`observer_fn`].
    ObserverFn, [] FnMut(&Event<'_>) -> Control + Send
}

impl<F> Observer for ObserverFn<F>
where
    F: FnMut(&Event<'_>) -> Control + Send,
{
    fn observe(&mut self, event: &Event<'_>) -> Control {
        (self.0)(event)
    }
}
