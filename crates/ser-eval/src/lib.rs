#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accuracy;
mod answer_file;
mod bootstrap;
mod calibration;
mod error;
mod html;
mod judge;
mod length_control;
mod report;
mod reward_bench;
mod reward_bench_2;
mod score_differences;
mod score_rows;
mod tally;
mod win_rate;

pub use accuracy::{Evaluation, SubsetAccuracy, accuracy_by_subset, chosen_first, correct};
pub use answer_file::{AnswerFile, match_answers};
pub use bootstrap::{Bootstrap, Estimate};
pub use calibration::{Binning, Calibration, ReliabilityBin};
pub use error::EvalError;
#[cfg(feature = "http")]
pub use judge::Http;
pub use judge::{
    AdditiveJudge, JudgeSettings, NoReply, PairwiseJudge, Prices, Reply, RewardJudge, Rubric, Transport, Usage,
};
pub use length_control::length_controlled;
pub use report::{
    Baseline, BaselineKind, Changes, Comparison, Count, Curve, DataCounts, IterationReport, PolicyReport, PolicyStage,
    PolicyTraining, Report, SampleAnswer, SamplePrompt, Selection, SelectionBin, StageTime, Timing, comparison_table,
};
pub use reward_bench::{RewardBench, SectionScore, write_results};
pub use reward_bench_2::{RewardBench2, ScoredAnswers, SubsetScore, TiesScore};
pub use score_differences::{DifferenceBin, ScoreDifferences, answer_similarity, similar_pair_differences};
pub use win_rate::{VerdictCounts, WinRate};
