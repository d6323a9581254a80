//! Scores that cannot be used: equal, drifted, not finite; and pairs that screening leaves out.

use std::path::Path;
use std::sync::Arc;

use crate::support::{Linear, data, settings};
use crate::{lines, run};
use ser::eval::BaselineKind;
use ser::status::Anchor;
use ser::{Baselines, LoopSettings, SelfEvolution, SerData};
use ser::{
    Context, FitSummary, Learner, Pair, PairId, PairLoss, PairScores, Preference, PreferenceStore, Scorer, Side,
};

#[test]
fn a_model_without_margins_ends_with_loop_0() {
    let report = run(LoopSettings { anchor: Anchor::None, ..settings() }, {
        // A seed of one pair with equal answers.
        let data = data(1);
        SerData { seed: same_answers(&data.seed.read_all().unwrap()[..1]).into(), ..data }
    });
    assert_eq!(report.iterations.len(), 1);
    assert!(report.iterations[0].chosen);
    let text = report.warnings.join("\n");
    assert!(text.contains("margin of 0") && text.contains("random and oracle are left out"), "{text}");
    let stopped = report.stopped.as_deref().unwrap();
    assert!(stopped.contains("No threshold and no anchor would change that"), "margins of 0: {stopped}");
    assert!(report.baseline(BaselineKind::Full).is_some());
}

/// A model whose raw scores are all far above 0, which a pairwise loss does not prevent.
struct Drifted(Linear);

impl Scorer for Drifted {
    type Error = std::io::Error;

    fn score(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<PairScores>, Self::Error> {
        Ok(self.0.score(pairs, cx)?.iter().map(|s| PairScores::new(s.a.0 + 30.0, s.b.0 + 30.0)).collect())
    }
}

impl Learner for Drifted {
    fn fit(
        &mut self,
        data: &dyn PreferenceStore,
        loss: &dyn PairLoss,
        cx: &mut Context<'_>,
    ) -> Result<FitSummary, Self::Error> {
        self.0.fit(data, loss, cx)
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), Self::Error> {
        self.0.snapshot(folder)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), Self::Error> {
        self.0.restore(folder)
    }
}

#[test]
fn the_reason_of_a_stop_names_an_anchor_if_scores_have_drifted() {
    let run = |anchor| {
        let folder = tempfile::tempdir().unwrap();
        let settings = LoopSettings { anchor, ..settings() };
        let mut model = Drifted(Linear::default());
        SelfEvolution::new(settings).run(&mut model, data(1), folder.path()).unwrap().report
    };
    let drifted = run(Anchor::None);
    assert_eq!(drifted.iterations.len(), 1);
    let text = drifted.stopped.unwrap();
    for said in [
        "of 1000 pairs none passes either status: one answer over 0.6 and the other under 0.4, or Delta over 0.3",
        "Delta is 0.0000 (5 %), 0.0000 (median)",
        "p of the higher-scored answer is 1.0000 (5 %)",
        "p of the lower-scored answer is 1.0000 (5 %)",
        "loop.anchor = \"per_pair\" (",
        "loop.anchor = \"pool_mean\" (",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let anchored = run(Anchor::PerPair);
    assert!(anchored.iterations.len() > 1);
    assert_eq!(anchored.stopped.as_deref(), Some("the loop limit is reached"));
}

/// The same pairs with answer A copied to B, except for a blank that screening removes.
fn same_answers(preferences: &[Preference]) -> Vec<Preference> {
    let same = |p: &Preference| {
        let answer = p.pair.response(Side::A);
        let pair = Pair::from_text(p.pair.id, "q", answer, format!("{answer} "));
        Preference::human(Arc::new(pair), Side::A)
    };
    preferences.iter().map(same).collect()
}

#[test]
fn pairs_with_scores_that_are_not_finite_are_never_selected() {
    let folder = tempfile::tempdir().unwrap();
    let broken = |pair: &Pair| pair.id.0 >= 1_000_000 && pair.id.0 % 3 == 1;
    let mut learner = Linear { broken, ..Linear::default() };
    let outcome = SelfEvolution::new(settings()).run(&mut learner, data(1), folder.path()).unwrap();
    assert_eq!(outcome.report.iterations.len(), 4);
    for iteration in 1..=3 {
        let ids: Vec<_> = lines(&folder.path().join(format!("rounds/{iteration:02}/selection.jsonl")))
            .iter()
            .map(|line| line["id"].as_u64().unwrap())
            .collect();
        assert!(ids.len() > 50 && ids.iter().all(|id| id % 3 != 1), "iteration {iteration}");
    }
    let warning = "The model that labels for loop 1 gives 334 of 1000 pool pairs scores that are not finite";
    assert!(outcome.report.warnings.iter().any(|w| w.starts_with(warning)), "{:?}", outcome.report.warnings);
}

#[test]
fn pairs_that_the_model_cannot_use_are_left_out_and_counted() {
    let mut data = data(1);
    let same = Pair::from_text(PairId(77), "q", "0101", "0101");
    data.pool = data.pool.chain([Arc::new(same.clone())].into());
    let more = Preference::human(Arc::new(Pair { id: PairId(78), ..same }), Side::B);
    data.seed = data.seed.chain([more].into());
    let report = run(LoopSettings { baselines: Baselines::none(), ..settings() }, data);
    let left_out: Vec<_> = report.data.left_out.iter().map(|c| (c.name.as_str(), c.count)).collect();
    let why = "answers the same to the model";
    assert_eq!(left_out, [(&*format!("labelled seed: {why}"), 1), (&*format!("pool: {why}"), 1)]);
}
