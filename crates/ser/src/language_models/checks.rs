//! Checks of models and data, before a run folder is made.

use std::path::Path;

use ser_core::{BoxError, Context, PairSet, PreferenceSet, Scorer, Screening};
use ser_eval::Count;
use ser_model::{AnyRewardModel, CausalLm, ModelError, SftTraining, fresh_base, sft_examples};

use super::LanguageModels;
use super::texts::{fetched, prompts_that_fit, trained_language_model};
use crate::Error;
use crate::observe::Observers;
use crate::prepare::CHUNK;
use crate::procedure::ProcedureData;

impl LanguageModels {
    /// Checks everything against the base model, or against an untrained model of the built-in corpus's texts: that has
    /// the tokenizer and the network of the model that the run will make.
    ///
    /// # Errors
    /// A folder that contains no model, adapters that fit no part of it, a part of the data that is empty or in which
    /// nothing is short enough.
    pub(super) fn check_all(&mut self, data: &mut ProcedureData, observers: &mut Observers<'_>) -> Result<(), Error> {
        data.warnings.extend(self.config.unused());
        let untrained = tempfile::tempdir().map_err(Error::io("create", &std::env::temp_dir()))?;
        let folder = match (self.base.clone(), &data.corpus_texts) {
            (Some(folder), _) => folder,
            (None, Some(texts)) => {
                let (config, texts) = (&self.config, texts.iter().map(String::as_str));
                fresh_base(untrained.path(), texts, &config.text, &config.base, config.run.seed, self.device)?;
                untrained.path().to_owned()
            }
            (None, None) => return Err(Error::NoModel),
        };
        let policies = self.config.policies.train;
        if policies || !data.pool_prompts.is_empty() {
            let mut model = self.causal_lm(&folder)?;
            self.check_pool_prompts(&model, data, observers)?;
            if policies {
                self.check_policies(&mut model, data)?;
            }
        }
        let reward = self.check_reward_model(&folder, data, observers)?;
        // With policies, reward models start from the SFT model; without, from this folder.
        self.reward = (self.base.is_some() && !policies).then_some(reward);
        Ok(())
    }

    fn check_reward_model(
        &self,
        folder: &Path,
        data: &ProcedureData,
        observers: &mut Observers<'_>,
    ) -> Result<AnyRewardModel, Error> {
        let loaded = self.make_reward(folder);
        let mut reward = loaded.map_err(|error| match error {
            Error::Model(error @ ModelError::NoTarget { .. }) => Error::table("lora", error),
            other => other,
        })?;
        let data = &data.prepared.data;
        for (part, preferences, hint) in [
            ("labelled seed", &data.seed, "give more labelled pairs, or raise text.max_length"),
            ("test set", &data.test, "hold labelled pairs out, or raise text.max_length"),
        ] {
            if !any_usable(&mut reward, &preferences.pairs())? {
                return Err(Error::NoPairs { part, hint });
            }
        }
        for note in reward.tokenizer().notes(&data.pool).map_err(Error::store)? {
            observers.note(&format!("note: {note}"));
        }
        Ok(reward)
    }

    /// Removes the prompts of the pool that are too long.
    fn check_pool_prompts(
        &self,
        base: &CausalLm,
        data: &mut ProcedureData,
        observers: &mut Observers<'_>,
    ) -> Result<(), Error> {
        if data.pool_prompts.is_empty() {
            return Ok(());
        }
        let prompts = std::mem::take(&mut data.pool_prompts);
        let longest = self.config.prompts.answers.sampling.max_new_tokens;
        let (prompts, left_out) = match &self.config.prompts.generator {
            Some(folder) => {
                let (generator, text) = trained_language_model(&self.config, &fetched(folder)?, false, self.device)?;
                observers.note(&format!("generator, {text}"));
                prompts_that_fit(&generator, prompts, longest)?
            }
            None => prompts_that_fit(base, prompts, longest)?,
        };
        if prompts.is_empty() {
            return Err(Error::Unusable(format!(
                "no prompt for the pool is left: the others are in the test or validation set, or leave no positions for \
                 an answer of {longest} tokens (prompts.answers.sampling.max_new_tokens)"
            )));
        }
        if left_out > 0 {
            let counts = &mut data.prepared.data.counts;
            counts.rows += left_out as u64;
            counts.left_out.push(Count::new("prompts: no positions for an answer", left_out as u64));
        }
        data.pool_prompts = prompts;
        Ok(())
    }

    /// Checks the data of all policies, and whether their adapters fit the model.
    fn check_policies(&mut self, model: &mut CausalLm, data: &mut ProcedureData) -> Result<(), Error> {
        let config = &self.config;
        let sft = data.prepared.sft.read_all().map_err(Error::store)?;
        let sft = sft_examples(model, &sft, config.sft.turns)?;
        data.warnings.extend(sft.warning());
        if sft.examples.is_empty() {
            return Err(Error::Unusable("no text is left for SFT: raise split.sft, or text.max_length".to_owned()));
        }
        // Checks the network, too: its precision, the modules of an adapter.
        let training = SftTraining::new(model, sft.examples.clone(), Vec::new(), &config.sft, 0);
        drop(training.map_err(|error| Error::table("sft", error))?);
        self.sft = sft.examples;
        let config = &self.config;
        let answer = config.ppo.response_length.longest();
        let judged = config.policies.sampling.max_new_tokens;
        for (prompts, what, longest, key) in [
            (&mut data.ppo_prompts, "prompts for PPO", answer, "ppo.response_length"),
            (&mut data.test_prompts, "test prompts for the policies", judged, "policies.sampling.max_new_tokens"),
        ] {
            let all = prompts.len();
            let (fit, left_out) = prompts_that_fit(model, std::mem::take(prompts), longest)?;
            if fit.is_empty() {
                return Err(Error::Unusable(format!(
                    "none of the {all} {what} leaves positions for an answer of {longest} tokens; lower {key}"
                )));
            }
            if left_out > 0 {
                data.warnings.push(format!(
                    "{left_out} of {all} {what} are left out: they leave no positions for an answer of {longest} tokens \
                     ({key})."
                ));
            }
            *prompts = fit;
        }
        if config.policies.dpo {
            check_dpo_pairs(model, &data.prepared.data.seed)?;
        }
        for (table, lora) in
            [("policy", Some(&config.policy.lora)), ("dpo", config.policies.dpo.then_some(&config.dpo.lora))]
        {
            if let Some(lora) = lora {
                model.add_adapter(table, lora, 0).map_err(|error| Error::table(&format!("{table}.lora"), error))?;
            }
        }
        Ok(())
    }
}

/// Whether the model can work on any of the pairs.
fn any_usable(reward: &mut AnyRewardModel, pairs: &PairSet) -> Result<bool, Error> {
    for chunk in pairs.chunks(CHUNK) {
        let chunk = chunk.map_err(Error::store)?;
        if reward.screen(&chunk, &mut Context::silent())?.contains(&Screening::Usable) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// DPO is trained on the labelled seed, as far as its texts are short enough.
fn check_dpo_pairs(model: &CausalLm, seed: &PreferenceSet) -> Result<(), Error> {
    for chunk in seed.chunks(CHUNK) {
        for preference in chunk.map_err(Error::store)? {
            let mut fits = true;
            for answer in [preference.chosen(), preference.rejected()] {
                let text = model.tokenizer().tokenize_response(&preference.pair.prompt, answer)?;
                fits &= text.tokens.len() <= model.text_limit() && text.tokens.len() > text.prompt_len;
            }
            if fits {
                return Ok(());
            }
        }
    }
    let why =
        "no pair of the labelled seed is short enough for DPO: raise text.max_length, or set policies.dpo = false";
    Err(Error::Unusable(why.to_owned()))
}

impl Error {
    /// An error of the settings of a table.
    fn table(table: &str, error: impl Into<BoxError>) -> Self {
        Error::Table { table: table.to_owned(), source: error.into() }
    }
}
