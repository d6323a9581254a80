//! Self-evolution of a reward model of linear heads over the hidden states of a frozen language model.
//!
//! ```sh
//! cargo run --release --features libtorch --example frozen_states -- models/smollm2 pairs.jsonl.gz 10
//! ```
//!
//! The states of each pair are computed once and kept in `frozen_states.features`; each seed then draws a split of its own
//! and runs Loop 0, three iterations and the baselines. Over one head, and over one head per depth (a committee, whose scores are
//! added), three procedures are compared: the paper's rules; the most confident 60 % of the pool with weight 0.5 beside the labelled
//! seed; and the whole pool with soft labels beside the labelled seed.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use ser::data::{ReadSettings, SplitSettings, TemplateKind, TextSettings};
use ser::eval::BaselineKind;
use ser::linear::{CachedFeatures, Features, LinearReward, LinearSettings, SingleView};
use ser::loss::{LossKind, LossSettings};
use ser::model::{Device, HiddenStates, HiddenStatesSettings, Precision};
use ser::status::{Anchor, LoopState, Plan, ScheduleSettings, TopShare};
use ser::{
    Baselines, BoxError, Context, LoopSettings, ModelSelection, Outcome, Progress, SelfEvolution, Stage, WarmStart,
    prepare_files,
};

/// Test accuracies in percent: Loop 0, the last iteration, Full, random.
type Row = [f64; 4];

/// What an iteration trains on.
#[derive(Clone, Copy)]
enum Labels {
    /// The paper's rules.
    Paper,
    /// The labelled seed, and the most confident 60 % of the pool with hard labels and weight 0.5.
    Confident,
    /// The labelled seed, and the whole pool with soft labels of temperature 2.
    Soft,
}

/// The procedures: name, labels, principal components of each view, and whether there is a view per depth.
const PROCEDURES: [(&str, Labels, usize, bool); 6] = [
    ("paper's rules, one head", Labels::Paper, 50, false),
    ("paper's rules, committee", Labels::Paper, 40, true),
    ("top 60 %, one head", Labels::Confident, 50, false),
    ("top 60 %, committee", Labels::Confident, 40, true),
    ("soft labels, one head", Labels::Soft, 50, false),
    ("soft labels, committee", Labels::Soft, 80, true),
];

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, seeds, first @ ..] = arguments.as_slice() else {
        return Err("give MODEL PAIRS SEEDS, and the first seed if it is not 0".into());
    };
    let first: u64 = first.first().map_or(Ok(0), |first| first.parse())?;
    let text = TextSettings { template: TemplateKind::Chat, max_length: Some(512), ..TextSettings::default() };
    let settings = HiddenStatesSettings { text, precision: Precision::Bf16, ..HiddenStatesSettings::default() };
    let states = HiddenStates::from_folder(model.as_ref(), &settings, Device::cpu())?;
    let mut features = CachedFeatures::open(states, PathBuf::from("frozen_states.features"))?;

    let mut rows: [Vec<Row>; PROCEDURES.len()] = Default::default();
    for seed in first..first + seeds.parse::<u64>()? {
        let split = SplitSettings { test: 0.35, validation: 0.0, seed, ..SplitSettings::reward_model_only() };
        let data = prepare_files(data.as_ref(), None, &ReadSettings::default(), &split)?.data;
        // Standardization and principal components use no label, so the whole training part serves.
        let pairs = data.seed.pairs().chain(data.pool.clone()).read_all()?;
        let usable = features.screen(&pairs)?;
        let pairs: Vec<_> = pairs
            .into_iter()
            .zip(usable)
            .filter(|(_, screening)| *screening == ser::Screening::Usable)
            .map(|(p, _)| p)
            .collect();
        let mut progress = Progress::new();
        features.features(&pairs, &mut Context::new(Stage::Other("hidden states".into()), &mut progress))?;
        for (row, (_, labels, components, committee)) in rows.iter_mut().zip(PROCEDURES) {
            let folder = tempfile::tempdir()?;
            let evolution = SelfEvolution::new(loop_settings(seed, labels));
            let evolution = match labels {
                Labels::Paper => evolution,
                Labels::Confident => evolution.rule(TopShare::new(0.6)?),
                Labels::Soft => evolution.rule(TopShare::new(1.0)?),
            };
            let settings = LinearSettings { components, ..LinearSettings::default() }.check()?;
            let outcome = if committee {
                let mut learner = LinearReward::new(&mut features, settings);
                learner.fit_representation(&pairs, &mut Context::silent())?;
                evolution.run(&mut learner, data.clone(), folder.path())?
            } else {
                let mut learner = LinearReward::new(SingleView(&mut features), settings);
                learner.fit_representation(&pairs, &mut Context::silent())?;
                evolution.run(&mut learner, data.clone(), folder.path())?
            };
            row.push(accuracies(&outcome));
        }
    }
    println!("{:26} Loop 0    SER   Full random  gain (se)      gap   over random (se)", "");
    // An ordinary run has one head: gains are measured from its Loop 0, and the gap is that to its Full.
    let [ordinary, ..] = &rows;
    let from: Vec<f64> = ordinary.iter().map(|row| row[0]).collect();
    let (to_full, _) = mean(ordinary.iter().map(|row| row[2] - row[0]));
    for ((name, ..), rows) in PROCEDURES.iter().zip(&rows) {
        let [loop_0, last, full, random] = [0, 1, 2, 3].map(|column| mean(rows.iter().map(|row| row[column])).0);
        let (gain, error) = mean(rows.iter().zip(&from).map(|(row, from)| row[1] - from));
        let (own, own_error) = mean(rows.iter().map(|row| row[1] - row[0]));
        let (over, over_error) = mean(rows.iter().map(|row| row[1] - row[3]));
        println!(
            "{name:26} {loop_0:6.1} {last:6.1} {full:6.1} {random:6.1}  {gain:+.2} ({error:.2})  {:4.0} %  {own:+.2} ({own_error:.2})  {:4.0} %  {over:+.2} ({over_error:.2})",
            100.0 * gain / to_full,
            100.0 * own / (full - loop_0)
        );
    }
    Ok(())
}

fn loop_settings(seed: u64, labels: Labels) -> LoopSettings {
    let settings = LoopSettings {
        seed,
        // The linear heads' scores are small: thresholds on probabilities need the anchor that takes each pair's mean out.
        anchor: Anchor::PerPair,
        loss: LossSettings { kind: LossKind::BradleyTerry, ..LossSettings::default() },
        warm_start: WarmStart::Seed,
        model_selection: ModelSelection::Last,
        baselines: Baselines { oracle: false, ..Baselines::default() },
        ..LoopSettings::default()
    };
    if matches!(labels, Labels::Paper) {
        return settings;
    }
    let (weight, temperature) = if matches!(labels, Labels::Soft) { (None, Some(2.0)) } else { (Some(0.5), None) };
    LoopSettings {
        schedule: ScheduleSettings::Paper(Plan { plan: vec![LoopState::Either; 3] }),
        replay_seed: true,
        pseudo_label_weight: weight,
        pseudo_label_temperature: temperature,
        ..settings
    }
}

fn accuracies(outcome: &Outcome) -> Row {
    let report = &outcome.report;
    let of = |kind| {
        report.baselines.iter().find(|b| b.kind == kind).map_or(f64::NAN, |b| 100.0 * b.evaluation.accuracy.value)
    };
    let last = report.iterations.last().map_or(f64::NAN, |iteration| 100.0 * iteration.evaluation.accuracy.value);
    // Without a selection there is no random baseline; it is then Loop 0, as is SER.
    let random = Some(of(BaselineKind::Random)).filter(|random| random.is_finite()).unwrap_or(of(BaselineKind::Loop0));
    [of(BaselineKind::Loop0), last, of(BaselineKind::Full), random]
}

/// The mean and its standard error.
fn mean(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    let variance = values.map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}
