//! The policy half of a run: SFT, PPO with the evolved reward model, and what both are held against.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser::data::corpus::count_cues;
use ser::data::prompt_clusters;
use ser::eval::{
    Bootstrap, Comparison, JudgeSettings, PairwiseJudge, PolicyReport, PolicyStage, PolicyTraining, SampleAnswer,
    SamplePrompt,
};
use ser::loss::DpoSettings;
use ser::model::{CausalExample, CausalLm, Device, DpoTraining, PolicyModel, RewardModel, SftTraining, merge_adapter};
use ser::{Clusters, Generator, Judge, Learner, Message, Pair, PairId, Preference, RawText, Side, Verdict};
use ser::{MetricsLog, Observers, PpoTraining, RunFolder, ScorerReward, train_in};

use crate::config::Config;

/// How many answers the report shows side by side.
const SHOWN: usize = 8;
/// Bytes of a weight file, at most.
const SHARD: u64 = 5_000_000_000;

/// What the policy half works with.
pub(crate) struct Policies<'a> {
    pub(crate) config: &'a Config,
    pub(crate) device: Device,
    /// The SFT model.
    pub(crate) sft: &'a Path,
    /// Prompts for PPO, each with room for the longest answer.
    pub(crate) ppo: &'a [Vec<Message>],
    /// The labelled seed, which DPO learns from.
    pub(crate) seed: &'a [Preference],
    /// Prompts that all policies answer.
    pub(crate) test: &'a [Vec<Message>],
    /// Whether answers are judged by the built-in corpus's truth.
    pub(crate) corpus: bool,
}

/// Judges pairs, as a stage of that name.
type Verdicts = dyn FnMut(&[Arc<Pair>], &str, &mut Observers<'_>) -> anyhow::Result<Vec<Verdict>>;

/// A policy's name and its answers to the test prompts.
struct Answered {
    name: &'static str,
    answers: Vec<String>,
}

/// Fine-tunes the base model on chosen answers; the folder of the result, in which an adapter is merged.
pub(crate) fn sft(
    config: &Config,
    base: &Path,
    mut examples: Vec<CausalExample>,
    run: &mut RunFolder,
    device: Device,
    observers: &mut Observers<'_>,
) -> anyhow::Result<PathBuf> {
    run.record_or_verify_settings("sft", &config.sft)?;
    let mut model = CausalLm::from_folder(base, &config.causal_lm(), device)?;
    // The last tenth is for validation.
    let held_out = examples.split_off(examples.len() - examples.len() / 10);
    let mut training = SftTraining::new(&mut model, examples, held_out, &config.sft, config.run.seed)?;
    train_in(&mut training, run, "sft", observers)?;
    let trained = run.stage_path("sft/model");
    if config.sft.lora.is_none() {
        return Ok(trained);
    }
    run.folder_stage("sft/merged", |folder| -> anyhow::Result<()> {
        merge_adapter(base, &trained, folder, SHARD)?;
        Ok(())
    })?;
    Ok(run.stage_path("sft/merged"))
}

impl Policies<'_> {
    /// Trains policies with the reward model that the loop ended with, and with the full-data one, and compares them.
    pub(crate) fn run(
        &self,
        reward: &mut RewardModel,
        run: &mut RunFolder,
        observers: &mut Observers<'_>,
    ) -> anyhow::Result<(PolicyReport, Vec<String>)> {
        let mut report = PolicyReport::default();
        let mut warnings = Vec::new();
        if run.is_done("sft/model") {
            let metrics = run.path().join("metrics.jsonl");
            report.stages.push(MetricsLog::stage(metrics, "sft", "SFT", PolicyTraining::Sft)?);
        }
        let mut model = CausalLm::from_folder(self.sft, &self.config.causal_lm(), self.device)?;
        let mut all = vec![self.answers("SFT", &mut model, run, observers)?];
        drop(model);

        let (answers, stage) = self.ppo("PPO-SER", "ppo-ser", reward, run, observers, &mut warnings)?;
        all.push(answers);
        report.stages.push(stage);
        let full = "baselines/full/model";
        if run.is_done(full) {
            reward.restore(&run.stage_path(full))?;
            let (answers, stage) = self.ppo("PPO-Full", "ppo-full", reward, run, observers, &mut warnings)?;
            all.push(answers);
            report.stages.push(stage);
        } else {
            observers
                .note("PPO with a full-data reward model is left out: loop.baselines.full is false, so there is none");
        }
        if self.config.policies.dpo {
            let (answers, stage) = self.dpo(run, observers)?;
            all.push(answers);
            report.stages.push(stage);
        }
        report.comparisons = self.compare(&all, run, observers)?;
        report.samples = self.samples(&all);
        Ok((report, warnings))
    }

    /// PPO of the SFT model against a reward model's scores.
    fn ppo(
        &self,
        name: &'static str,
        stage: &str,
        reward: &mut RewardModel,
        run: &mut RunFolder,
        observers: &mut Observers<'_>,
        warnings: &mut Vec<String>,
    ) -> anyhow::Result<(Answered, PolicyStage)> {
        let config = self.config;
        run.record_or_verify_settings("policy", &config.policy)?;
        let model = CausalLm::from_folder(self.sft, &config.causal_lm(), self.device)?;
        let mut policy = PolicyModel::new(model, &config.policy)?;
        let mut reward =
            if config.reward.probability { ScorerReward::probability(reward) } else { ScorerReward::raw(reward) };
        let mut training = PpoTraining::new(
            config.ppo.clone(),
            config.policy_run.clone(),
            &mut policy,
            &mut reward,
            self.ppo.to_vec(),
        )?;
        training.run_in(run, stage, observers)?;
        let curves = training.stage(name);
        warnings.extend(training.warnings().into_iter().map(|(step, w)| format!("{name}, from step {step}: {w}.")));
        drop(training);
        if reward.truncated() > 0 {
            warnings.push(format!(
                "{name}: {} answers were too long for the reward model and were scored without their end.",
                reward.truncated()
            ));
        }
        Ok((self.answers(name, &mut policy, run, observers)?, curves))
    }

    /// DPO of the SFT model on the labelled seed: no reward model, no rollouts.
    fn dpo(&self, run: &mut RunFolder, observers: &mut Observers<'_>) -> anyhow::Result<(Answered, PolicyStage)> {
        let config = self.config;
        run.record_or_verify_settings("dpo", &config.dpo)?;
        let mut model = CausalLm::from_folder(self.sft, &config.causal_lm(), self.device)?;
        let loss = DpoSettings { beta: config.dpo.beta, ..DpoSettings::default() }.check()?;
        let mut training = DpoTraining::new(&mut model, &self.seed, &loss, &config.dpo, config.run.seed)?;
        if training.left_out() > 0 {
            observers.note(&format!("DPO leaves out {} preferences: too long, or empty", training.left_out()));
        }
        train_in(&mut training, run, "dpo", observers)?;
        drop(training);
        let metrics = run.path().join("metrics.jsonl");
        let stage = MetricsLog::stage(metrics, "dpo", "DPO", PolicyTraining::Dpo)?;
        Ok((self.answers("DPO", &mut model, run, observers)?, stage))
    }

    /// A policy's answers to the test prompts, as a stage of the run.
    fn answers<G: Generator>(
        &self,
        name: &'static str,
        policy: &mut G,
        run: &mut RunFolder,
        observers: &mut Observers<'_>,
    ) -> anyhow::Result<Answered> {
        run.record_or_verify_settings("policies", &self.config.policies)?;
        let sampling = &self.config.policies.sampling;
        let stage = format!("policies/{}.jsonl", name.to_lowercase());
        let answers = run.file_stage(&stage, |out| -> anyhow::Result<Vec<String>> {
            observers.note(&format!("{name} answers {} test prompts", self.test.len()));
            let answers = policy.generate(self.test, sampling, &mut ser::Context::silent()).map_err(Into::into);
            let answers = answers.map_err(|error: ser::BoxError| anyhow::anyhow!(error))?;
            let answers: Vec<String> = answers.into_iter().flatten().map(|answer| answer.text).collect();
            for (prompt, answer) in self.test.iter().zip(&answers) {
                writeln!(out, "{}", serde_json::json!({"prompt": prompt, "answer": answer}))?;
            }
            Ok(answers)
        })?;
        Ok(Answered { name, answers })
    }

    /// Each policy against SFT, and PPO with the evolved reward model against all others.
    fn compare(
        &self,
        all: &[Answered],
        run: &RunFolder,
        observers: &mut Observers<'_>,
    ) -> anyhow::Result<Vec<Comparison>> {
        let Some((judge, mut verdicts)) = self.judge(run)? else {
            observers.note("nobody compares the policies' answers: name a judge's endpoint and model under [judge]");
            return Ok(Vec::new());
        };
        let mut comparisons = Vec::new();
        let of = |name: &str| all.iter().find(|answered| answered.name == name);
        for (policy, against) in
            [("PPO-SER", "SFT"), ("PPO-Full", "SFT"), ("DPO", "SFT"), ("PPO-SER", "PPO-Full"), ("PPO-SER", "DPO")]
        {
            let (Some(one), Some(other)) = (of(policy), of(against)) else { continue };
            let pairs: Vec<Arc<Pair>> = (0..)
                .zip(self.test)
                .zip(one.answers.iter().zip(&other.answers))
                .map(|((id, prompt), (a, b))| {
                    let responses = [a.clone(), b.clone()];
                    Arc::new(Pair {
                        id: PairId(id),
                        prompt: prompt.clone(),
                        responses,
                        response_turns: None,
                        raw: RawText::None,
                    })
                })
                .collect();
            let verdicts = verdicts(&pairs, &format!("judge {policy} against {against}"), observers)?;
            let (prompts, bootstrap) = (prompt_clusters(pairs.iter().map(AsRef::as_ref)), Bootstrap::default());
            let clusters = Clusters::Ids(&prompts);
            let comparison =
                Comparison::measure(policy, against, judge.as_str(), &pairs, &verdicts, clusters, &bootstrap)?;
            if let Some(rate) = &comparison.win_rate {
                observers
                    .note(&format!("{policy} against {against}: win rate {:.1} %, by {judge}", 100.0 * rate.value));
            }
            comparisons.push(comparison);
        }
        Ok(comparisons)
    }

    /// A judge that is not the reward model, and its name: the one behind an endpoint, if settings name one, else the
    /// corpus's truth where the prompts are the corpus's.
    fn judge(&self, run: &RunFolder) -> anyhow::Result<Option<(String, Box<Verdicts>)>> {
        let Some(settings) = &self.config.judge else {
            let truth: Box<Verdicts> = Box::new(|pairs, _, _| Ok(by_cues(pairs)));
            return Ok(self.corpus.then(|| ("the share of good cues".to_owned(), truth)));
        };
        // Its answers are kept with the run: a resumed one does not ask again.
        let cache = settings.cache.clone().unwrap_or_else(|| run.path().join("policies/judge_cache.jsonl"));
        let mut judge = PairwiseJudge::new(JudgeSettings { cache: Some(cache), ..settings.clone() })?;
        let ask: Box<Verdicts> = Box::new(move |pairs, stage, observers| {
            let mut cx = ser::Context::new(stage, observers);
            let verdicts = judge.judge(pairs, &mut cx)?;
            cx.finish();
            Ok(verdicts)
        });
        Ok(Some((settings.model.clone(), ask)))
    }

    fn samples(&self, all: &[Answered]) -> Vec<SamplePrompt> {
        let shown = self.test.iter().enumerate().take(SHOWN);
        let sample = |(place, prompt): (usize, &Vec<Message>)| SamplePrompt {
            prompt: prompt.iter().map(|turn| turn.content.as_str()).collect::<Vec<_>>().join("\n"),
            answers: all
                .iter()
                .filter_map(|policy| {
                    let text = policy.answers.get(place)?.clone();
                    Some(SampleAnswer { policy: policy.name.to_owned(), text, reward: None })
                })
                .collect(),
        };
        shown.map(sample).collect()
    }
}

/// Prefers the answer with the higher share of good cues.
fn by_cues(pairs: &[Arc<Pair>]) -> Vec<Verdict> {
    let verdict = |pair: &Arc<Pair>| {
        let [a, b] = [Side::A, Side::B].map(|side| count_cues(pair.response(side)).quality());
        match a.total_cmp(&b) {
            std::cmp::Ordering::Greater => Verdict::Prefers(Side::A),
            std::cmp::Ordering::Less => Verdict::Prefers(Side::B),
            std::cmp::Ordering::Equal => Verdict::Tie,
        }
    };
    pairs.iter().map(verdict).collect()
}
