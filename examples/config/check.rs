//! The checks of every table, with keys named as in a settings file.

use std::error::Error;

use anyhow::{anyhow, bail};
use ser::LoopSettings;
use ser::core::Sampling;
use ser::eval::Rubric;
use ser::loss::DpoSettings;
use ser::model::{CausalLmSettings, NetworkConfig};

use super::Config;

impl Config {
    /// Refuses the first value of any table that cannot be used.
    ///
    /// # Errors
    /// One sentence with the key as in a settings file (`sft.training.learning_rate`), its value and what it must be.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        in_table("data", self.data.check())?;
        in_table("split", self.split.check())?;
        in_table("text", self.text.check())?;
        // Of its settings only the token budget is not checked elsewhere.
        in_table("model", CausalLmSettings { token_budget: self.model.token_budget, ..Default::default() }.check())?;
        in_table("lora", self.lora.check())?;
        in_table("training", self.training.check())?;
        let evolution = &self.evolution;
        in_table("loop.thresholds", evolution.thresholds.check())?;
        in_table("loop.schedule", evolution.schedule.clone().check())?;
        in_table("loop.loss", evolution.loss.build())?;
        in_table("loop.balance", evolution.balance.check())?;
        in_table("loop.bootstrap", evolution.bootstrap.check())?;
        let audit = LoopSettings { audit: evolution.audit, ..LoopSettings::default() };
        in_table("loop.audit", audit.check())?;
        let precision_target = evolution.precision_target.clone();
        in_table("loop.precision_target", LoopSettings { precision_target, ..LoopSettings::default() }.check())?;
        in_table("loop", evolution.check())?;
        in_table("prompts.answers", self.prompts.answers.check())?;
        sampling("prompts.answers.sampling", &self.prompts.answers.sampling)?;
        in_table("sft", self.sft.check())?;
        in_table("policy", self.policy.check())?;
        in_table("ppo", self.ppo.clone().build())?;
        in_table("policy_run", self.policy_run.check())?;
        self.check_rollouts()?;
        in_table("dpo", self.dpo.check())?;
        in_table("dpo", DpoSettings { beta: self.dpo.beta, ..DpoSettings::default() }.build())?;
        sampling("policies.sampling", &self.policies.sampling)?;
        if self.policies.sampling.samples_per_prompt != 1 {
            bail!("policies.sampling.samples_per_prompt must be 1: answers are compared one against one");
        }
        if let Some(judge) = &self.judge {
            in_table("judge", judge.check())?;
            if judge.rubric != Rubric::default() {
                bail!(
                    "judge.rubric is given, but policies are compared pairwise, without a rubric; leave it out, or let \
                     judge_answers grade their answers (--judge authors)"
                );
            }
        }
        in_table("corpus", self.corpus.check())?;
        in_table("base", self.base.training.check())?;
        in_table("base.shape", NetworkConfig::llama(self.base.vocab_size as i64, &self.base.shape))?;
        self.check_reward()
    }

    /// What the first rollout would refuse.
    fn check_rollouts(&self) -> anyhow::Result<()> {
        let (run, longest) = (&self.policy_run, self.ppo.response_length.longest());
        if run.min_new_tokens > longest {
            let least = run.min_new_tokens;
            bail!(
                "policy_run.min_new_tokens is {least}; it must be at most the longest ppo.response_length, {longest}"
            );
        }
        let rollouts = Sampling { max_new_tokens: longest, stop: run.stop.clone(), ..Sampling::default() };
        sampling("policy_run", &rollouts)
    }

    /// Eq. 7 is for probabilities; a raw score of a reward model is none.
    fn check_reward(&self) -> anyhow::Result<()> {
        let from_model = self.policies.train || self.reward.model.is_some();
        if from_model && !self.reward.probability && self.ppo.reward_scaling.is_some() {
            bail!(
                "ppo.reward_scaling (Eq. 7) is for probabilities, but reward.probability is false: set \
                 reward.probability = true, or ppo.reward_scaling = \"none\""
            );
        }
        if self.policies.train && self.policies.judged == 0 {
            bail!("policies.judged is 0; it must be at least 1, or there is nothing to compare");
        }
        Ok(())
    }
}

/// What a generator would refuse, before there is one.
fn sampling(table: &str, sampling: &Sampling) -> anyhow::Result<()> {
    in_table(table, ser::model::check_sampling(sampling))
}

/// A table's check, its error with the table's name before the key.
fn in_table<T, E: Error>(table: &str, result: Result<T, E>) -> anyhow::Result<()> {
    let Err(error) = result else { return Ok(()) };
    let mut error: &dyn Error = &error;
    // What a crate wraps an error in says less than the error.
    while let Some(source) = error.source() {
        error = source;
    }
    Err(anyhow!(with_table(table, &error.to_string())))
}

/// A crate names a key as its own settings know it: `learning_rate`, `training.learning_rate` or `` the setting `steps` ``.
fn with_table(table: &str, message: &str) -> String {
    let message = match message.strip_prefix("the setting `").and_then(|rest| rest.split_once('`')) {
        Some((key, rest)) => format!("{key}{rest}"),
        None => message.to_owned(),
    };
    let (key, rest) = message.split_once(' ').unwrap_or((message.as_str(), ""));
    let is_key = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.');
    if !(is_key && ["is ", "= ", "goes ", "+ "].iter().any(|verb| rest.starts_with(verb))) {
        return format!("[{table}]: {message}");
    }
    // The crate's settings may name their own table already: the last of `sft.training`, or all of it.
    let own = table.rsplit('.').next().unwrap_or(table);
    let key = [table, own].iter().find_map(|name| key.strip_prefix(name)?.strip_prefix('.')).unwrap_or(key);
    format!("{table}.{key} {rest}")
}
