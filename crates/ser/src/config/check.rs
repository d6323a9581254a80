//! The checks of every table, with keys named as in a settings file.

use std::error::Error;

use ser_core::Sampling;
use ser_eval::Rubric;
#[cfg(feature = "libtorch")]
use ser_loss::DpoSettings;
#[cfg(feature = "libtorch")]
use ser_model::{CausalLmSettings, NetworkConfig};
use ser_status::PrecisionTarget;

use super::{Config, ConfigError, read, tables};

impl Config {
    /// Refuses the first value of any table that cannot be used.
    ///
    /// # Errors
    /// One sentence with the key as in a settings file (`sft.training.learning_rate`), its value and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_tables().map_err(|error| {
            let value = error.key().and_then(|key| {
                let all = read::object(self).ok()?;
                tables::lookup(&all, key).cloned()
            });
            error.with_value(value.as_ref())
        })
    }

    fn check_tables(&self) -> Result<(), ConfigError> {
        in_table("data", self.data.check())?;
        in_table("split", self.split.check())?;
        in_table("text", self.text.check())?;
        self.check_loop()?;
        in_table("prompts.answers", self.prompts.answers.check())?;
        in_table("prompts.answers.sampling", self.prompts.answers.sampling.check())?;
        let batches = ["mini_batch_size", "batch_size", "gradient_accumulation_steps"];
        in_table("ppo", self.ppo.clone().check()).map_err(|error| error.with_full_keys("ppo", &batches))?;
        in_table("policy_run", self.policy_run.check())?;
        self.check_rollouts()?;
        in_table("policies.sampling", self.policies.sampling.check())?;
        if self.policies.sampling.samples_per_prompt != 1 {
            let key = "policies.sampling.samples_per_prompt";
            return Err(refused(key, "must be 1: policies are compared by one answer each"));
        }
        if let Some(judge) = &self.judge {
            in_table("judge", judge.check())?;
            if judge.rubric != Rubric::default() {
                let why = "is given, but policies are compared pairwise, without a rubric; leave it out, or let `ser judge` \
                           grade their answers (--judge authors)";
                return Err(refused("judge.rubric", why));
            }
        }
        in_table("corpus", self.corpus.check())?;
        #[cfg(feature = "libtorch")]
        self.check_language_models()?;
        self.check_reward()
    }

    fn check_loop(&self) -> Result<(), ConfigError> {
        let evolution = &self.evolution;
        in_table("loop.thresholds", evolution.thresholds.check())?;
        in_table("loop.schedule", evolution.schedule.clone().check())?;
        in_table("loop.loss", evolution.loss.check())?;
        in_table("loop.balance", evolution.balance.check())?;
        in_table("loop.bootstrap", evolution.bootstrap.check())?;
        in_table("loop.audit", evolution.audit.check())?;
        let target = evolution.precision_target.clone();
        in_table("loop.precision_target", target.map(PrecisionTarget::check).transpose())?;
        in_table("loop", evolution.check())
    }

    #[cfg(feature = "libtorch")]
    fn check_language_models(&self) -> Result<(), ConfigError> {
        // Of its settings only the token budget is not checked elsewhere.
        in_table("model", CausalLmSettings { token_budget: self.model.token_budget, ..Default::default() }.check())?;
        in_table("lora", self.lora.check())?;
        in_table("training", self.training.check())?;
        in_table("linear", self.linear_reward().check())?;
        in_table("sft", self.sft.check())?;
        in_table("policy", self.policy.check())?;
        in_table("dpo", self.dpo.check())?;
        in_table("dpo", DpoSettings { beta: self.dpo.beta, ..DpoSettings::default() }.check())?;
        in_table("base", self.base.training.check())?;
        in_table("base.shape", NetworkConfig::llama(self.base.vocab_size as i64, &self.base.shape))
    }

    /// Refuses settings that the first rollout would refuse.
    fn check_rollouts(&self) -> Result<(), ConfigError> {
        let (run, longest) = (&self.policy_run, self.ppo.response_length.longest());
        if run.min_new_tokens > longest {
            let least = run.min_new_tokens;
            let why = format!("is {least}; it must be at most the longest ppo.response_length, {longest}");
            return Err(refused("policy_run.min_new_tokens", &why));
        }
        let rollouts = Sampling { max_new_tokens: longest, stop: run.stop.clone(), ..Sampling::default() };
        in_table("policy_run", rollouts.check())
    }

    /// Eq. 7 scales probabilities; a reward model's raw score is not one.
    fn check_reward(&self) -> Result<(), ConfigError> {
        let from_model = self.policies.train || self.reward.model.is_some();
        if from_model && !self.reward.probability && self.ppo.reward_scaling.is_some() {
            let why = "(Eq. 7) is for probabilities, but reward.probability is false: set reward.probability = true, or \
                       ppo.reward_scaling = \"none\"";
            return Err(refused("ppo.reward_scaling", why));
        }
        if self.policies.train && self.policies.judged == 0 {
            return Err(refused("policies.judged", "is 0; it must be at least 1, or there is nothing to compare"));
        }
        Ok(())
    }
}

fn refused(key: &str, why: &str) -> ConfigError {
    ConfigError::new(format!("{key} {why}")).with_key(key)
}

/// A table's check; the error has the table's name before the key.
fn in_table<T, E: Error>(table: &str, result: Result<T, E>) -> Result<(), ConfigError> {
    let Err(error) = result else { return Ok(()) };
    let mut error: &dyn Error = &error;
    // The innermost error names the key.
    while let Some(source) = error.source() {
        error = source;
    }
    Err(with_table(table, &error.to_string()))
}

/// A crate names a key as its own settings do: `learning_rate`, `training.learning_rate` or `` the setting `steps` ``.
fn with_table(table: &str, message: &str) -> ConfigError {
    let message = match message.strip_prefix("the setting `").and_then(|rest| rest.split_once('`')) {
        Some((key, rest)) => format!("{key}{rest}"),
        None => message.to_owned(),
    };
    let (key, rest) = message.split_once(' ').unwrap_or((message.as_str(), ""));
    let is_key = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.');
    if !(is_key && ["is ", "= ", "goes ", "+ "].iter().any(|verb| rest.starts_with(verb))) {
        return ConfigError::new(format!("[{table}]: {message}"));
    }
    // The crate's settings may name their own table already: the last part of `sft.training`, or all of it.
    let own = table.rsplit('.').next().unwrap_or(table);
    let key = [table, own].iter().find_map(|name| key.strip_prefix(name)?.strip_prefix('.')).unwrap_or(key);
    let key = format!("{table}.{key}");
    ConfigError::new(format!("{key} {rest}")).with_key(key)
}
