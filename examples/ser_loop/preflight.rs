//! Everything about models and data that can be refused, before a run folder is made.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use ser::eval::{Count, JudgeSettings, PairwiseJudge};
use ser::model::{CausalExample, CausalLm, Device, ModelError, RewardModel, SftTraining, fresh_base, sft_examples};
use ser::{Error, PreparedData};
use ser::{Message, Preference, Scorer, Screening};

use crate::config::{Config, fetched, prompts_with_room, trained_lm};

/// What the checks made of models and data.
#[derive(Default)]
pub(crate) struct Ready {
    /// The reward model, where it starts from the folder that was checked.
    pub(crate) reward: Option<RewardModel>,
    /// The texts of SFT.
    pub(crate) sft: Vec<CausalExample>,
    /// Prompts for PPO.
    pub(crate) ppo: Vec<Vec<Message>>,
    /// Test prompts that all policies answer.
    pub(crate) test: Vec<Vec<Message>>,
    /// Prompts for the pool.
    pub(crate) pool: Vec<Vec<Message>>,
    /// What was left out and why, for people and for the report.
    pub(crate) warnings: Vec<String>,
}

/// Checks everything against the model of the folder `given`, or else against an untrained model of `texts`, the built-in
/// corpus's: it has the tokenizer and the network of the model that the run will make.
///
/// # Errors
/// A folder that holds no model, adapters that fit no part of it, a part of the data that is empty or that nothing of
/// is short enough, a judge without its key.
pub(crate) fn check(
    config: &Config,
    given: Option<&Path>,
    texts: Option<&[String]>,
    prepared: &mut PreparedData,
    prompts: Vec<Vec<Message>>,
    device: Device,
) -> anyhow::Result<Ready> {
    if config.policies.train
        && let Some(judge) = &config.judge
    {
        // Its key is looked for, too.
        PairwiseJudge::new(JudgeSettings { cache: None, ..judge.clone() })?;
    }
    let untrained = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = match (given, texts) {
        (Some(folder), _) => folder,
        (None, Some(texts)) => {
            let texts = texts.iter().map(String::as_str);
            fresh_base(untrained.path(), texts, &config.text, &config.base, config.run.seed, device)?;
            untrained.path()
        }
        (None, None) => bail!("--data needs --model FOLDER with config.json, tokenizer.json and *.safetensors"),
    };
    let mut ready = Ready::default();
    if config.policies.train || !prompts.is_empty() {
        let mut model = CausalLm::from_folder(folder, &config.causal_lm(), device)?;
        pool_prompts(config, &model, prepared, prompts, device, &mut ready)?;
        if config.policies.train {
            policies(config, &mut model, prepared, &mut ready)?;
        }
    }
    let loaded = RewardModel::from_folder(folder, &config.reward_model(), device);
    let mut reward = loaded.map_err(|error| match error {
        ModelError::NoTarget { .. } => anyhow!(error).context("lora"),
        other => other.into(),
    })?;
    for (part, preferences, hint) in [
        ("labelled seed", &prepared.data.seed, "give more labelled pairs, or raise text.max_length"),
        ("test set", &prepared.data.test, "hold labelled pairs out, or raise text.max_length"),
    ] {
        let pairs: Vec<_> = preferences.iter().map(|preference| preference.pair.clone()).collect();
        if !reward.screen(&pairs, &mut ser::Context::silent())?.contains(&Screening::Usable) {
            return Err(Error::NoPairs { part, hint }.into());
        }
    }
    ready.reward = (given.is_some() && !config.policies.train).then_some(reward);
    Ok(ready)
}

/// The prompts of the pool, without those that are held out and those that are too long.
fn pool_prompts(
    config: &Config,
    base: &CausalLm,
    prepared: &mut PreparedData,
    prompts: Vec<Vec<Message>>,
    device: Device,
    ready: &mut Ready,
) -> anyhow::Result<()> {
    if prompts.is_empty() {
        return Ok(());
    }
    let prompts = prepared.data.without_held_out(prompts);
    let longest = config.prompts.answers.sampling.max_new_tokens;
    let (prompts, left_out) = match &config.prompts.generator {
        Some(folder) => {
            let generator = trained_lm(config, &fetched(folder)?, false, "generator", device)?;
            prompts_with_room(&generator, prompts, longest)?
        }
        None => prompts_with_room(base, prompts, longest)?,
    };
    if prompts.is_empty() {
        bail!(
            "no prompt for the pool is left: each is one of the test or validation set, or leaves no room for an answer \
             of {longest} tokens (prompts.answers.sampling.max_new_tokens)"
        );
    }
    if left_out > 0 {
        prepared.data.counts.rows += left_out as u64;
        prepared.data.counts.left_out.push(Count::new("prompts: no room for an answer", left_out as u64));
    }
    ready.pool = prompts;
    Ok(())
}

/// What the policies learn from and answer, and whether their adapters fit.
fn policies(config: &Config, model: &mut CausalLm, prepared: &PreparedData, ready: &mut Ready) -> anyhow::Result<()> {
    let sft = sft_examples(model, &prepared.sft, config.sft.turns)?;
    ready.warnings.extend(sft.warning());
    if sft.examples.is_empty() {
        bail!("no text is left for SFT: raise split.sft, or text.max_length");
    }
    // Refuses what SFT refuses of the network: a precision, the modules of its adapter.
    drop(SftTraining::new(model, sft.examples.clone(), Vec::new(), &config.sft, 0).context("sft")?);
    ready.sft = sft.examples;
    let of = |preferences: &[Preference]| preferences.iter().map(|p| p.pair.prompt.clone()).collect::<Vec<_>>();
    for (prompts, what, longest, key) in [
        (of(&prepared.ppo), "prompts for PPO", config.ppo.response_length.longest(), "ppo.response_length"),
        (
            of(&prepared.data.test),
            "test prompts for the policies",
            config.policies.sampling.max_new_tokens,
            "policies.sampling.max_new_tokens",
        ),
    ] {
        let all = prompts.len();
        let (prompts, left_out) = prompts_with_room(model, prompts, longest)?;
        if prompts.is_empty() {
            bail!("none of the {all} {what} leaves room for an answer of {longest} tokens; lower {key}");
        }
        if left_out > 0 {
            ready.warnings.push(format!(
                "{left_out} of {all} {what} are left out: they leave no room for an answer of {longest} tokens ({key})."
            ));
        }
        if key.starts_with("ppo") { ready.ppo = prompts } else { ready.test = prompts }
    }
    ready.test.truncate(config.policies.judged);
    if config.policies.dpo {
        dpo_pairs(model, &prepared.data.seed)?;
    }
    for (table, lora) in
        [("policy", Some(&config.policy.lora)), ("dpo", config.policies.dpo.then_some(&config.dpo.lora))]
    {
        if let Some(lora) = lora {
            model.add_adapter(table, lora, 0).with_context(|| format!("{table}.lora"))?;
        }
    }
    Ok(())
}

/// DPO learns from the labelled seed, as far as its texts fit.
fn dpo_pairs(model: &CausalLm, seed: &[Preference]) -> anyhow::Result<()> {
    for preference in seed {
        let mut fits = true;
        for answer in [preference.chosen(), preference.rejected()] {
            let text = model.tokenizer().tokenize_response(&preference.pair.prompt, answer)?;
            fits &= text.tokens.len() <= model.text_limit() && text.tokens.len() > text.prompt_len;
        }
        if fits {
            return Ok(());
        }
    }
    bail!("no pair of the labelled seed is short enough for DPO: raise text.max_length, or set policies.dpo = false");
}
