//! The stages that a procedure has left: their number, for its overall progress, and running them.

use ser_status::ScheduleSettings;

use super::comparison;
use super::models::Models;
use super::run::ProcedureRun;
use crate::{Error, Outcome};

impl<M: Models> ProcedureRun<'_, M> {
    /// Runs all stages that are left.
    ///
    /// # Errors
    /// Those of the stages.
    pub fn finish(mut self) -> Result<Outcome, Error> {
        self.evolve()?;
        if self.config.policies.train {
            self.compare()?;
        }
        Ok(self.take_evolved()?.outcome)
    }

    /// The number of stages that are left, at most: the loop may end before its schedule does. Each of them reports one
    /// start and one end to observers.
    pub fn stages_left(&self) -> u64 {
        let left = |stage: &String| !self.run.is_done(stage);
        let in_folder = self.loop_stages().into_iter().chain(self.policy_stages()).filter(left).count();
        // Screening and comparing are done in every process.
        let compared = if self.config.policies.train { comparison::COMPARED.len() } else { 0 };
        (1 + in_folder + compared) as u64
    }

    fn loop_stages(&self) -> Vec<String> {
        // The report is written when the loop has ended, which may be before its schedule does.
        if self.run.path().join("report.json").exists() {
            return Vec::new();
        }
        let settings = &self.config.evolution;
        let iterations = match &settings.schedule {
            ScheduleSettings::Paper(plan) => plan.plan.len(),
            ScheduleSettings::Automatic(automatic) => automatic.max_loops,
            ScheduleSettings::AuthorsCode(authors) => authors.max_loops,
        };
        let (data, baselines) = (&self.data.prepared.data, &settings.baselines);
        let validation = if data.validation.is_empty() { None } else { Some("validation.jsonl") };
        let test = if data.test.is_empty() { None } else { Some("test.jsonl") };
        let mut stages = Vec::new();
        if self.data.corpus_texts.is_some() && !self.config.policies.train {
            stages.push("base".to_owned());
        }
        for number in 0..=iterations {
            let scores = (number > 0).then_some("scores.jsonl");
            let parts = [scores, Some("model"), validation, test];
            stages.extend(parts.into_iter().flatten().map(|part| format!("rounds/{number:02}/{part}")));
            if baselines.random && number > 0 {
                let parts = [(number > 1).then_some("scores.jsonl"), Some("model")];
                stages.extend(parts.into_iter().flatten().map(|part| format!("baselines/random/{number:02}/{part}")));
            }
        }
        for (wanted, name) in [(baselines.full, "full"), (baselines.oracle, "oracle"), (baselines.random, "random")] {
            let parts = [(name != "random").then_some("model"), test];
            let parts = parts.into_iter().flatten().filter(|_| wanted);
            stages.extend(parts.map(|part| format!("baselines/{name}/{part}")));
        }
        stages
    }

    fn policy_stages(&self) -> Vec<String> {
        if !self.config.policies.train {
            return Vec::new();
        }
        let full = self.config.evolution.baselines.full.then_some("ppo-full/model");
        let dpo = self.config.policies.dpo.then_some("dpo/model");
        [Some("sft/model"), Some("ppo-ser/model"), full, dpo].into_iter().flatten().map(str::to_owned).collect()
    }
}
