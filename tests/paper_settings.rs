//! The settings files of examples/paper equal the defaults and presets of the code; invalid values are named by key.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use ser::LoopSettings;
use ser::data::TextSettings;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/paper")
}

fn file(name: &str) -> Table {
    fs::read_to_string(folder().join(name)).unwrap().parse().unwrap()
}

/// A table of a file as the settings it is for; unknown keys are errors.
fn part<T: DeserializeOwned>(table: &Table, name: &str) -> T {
    table.get(name).cloned().unwrap_or_else(|| Value::Table(Table::new())).try_into().unwrap()
}

#[test]
fn authors_code_is_the_preset() {
    let script = file("authors_code.toml");
    assert_eq!(part::<LoopSettings>(&script, "loop"), LoopSettings::authors_code());
    assert!(!part::<TextSettings>(&script, "text").append_eos);
}

#[cfg(feature = "libtorch")]
mod whole_files {
    use ser::config::{Config, ConfigError};
    use ser::model::Optim;
    use ser::ppo::{LearningRateScheduler, ResponseLength};

    use super::*;

    /// The settings that these keys give.
    fn load(keys: &[&str]) -> Result<Config, ConfigError> {
        let mut builder = Config::builder();
        for key in keys {
            builder = builder.set(key)?;
        }
        builder.build()
    }

    /// The settings of several files of the folder, a later one winning.
    fn files(names: &[&str]) -> Config {
        Config::from_files(names.iter().map(|name| folder().join(name))).unwrap()
    }

    #[test]
    fn paper_is_the_default_and_spells_everything_out() {
        let paper = file("paper.toml");
        assert_eq!(paper.clone().try_into::<Config>().unwrap(), Config::default());
        assert_eq!(files(&["paper.toml"]), Config::paper());
        // A missing key would follow a changed default unnoticed. Options without a value cannot be written in TOML.
        let default = Table::try_from(Config::default()).unwrap();
        for table in ["split", "text", "sft", "lora", "training", "policy", "ppo"] {
            let (given, all) = (paper[table].as_table().unwrap(), default[table].as_table().unwrap());
            // A part without a seed takes the run's.
            for (key, value) in all.iter().filter(|(key, _)| *key != "seed") {
                assert!(given.contains_key(key), "[{table}] {key}");
                if let Some(inner) = value.as_table().filter(|_| key != "response_length" && key != "kl_control") {
                    let given = given[key].as_table().unwrap();
                    assert!(inner.keys().all(|k| given.contains_key(k)), "[{table}.{key}]: {inner:?}");
                }
            }
        }
        assert_eq!(paper["reward"]["probability"].as_bool(), Some(true));
    }

    #[test]
    fn the_authors_code_differs_in_ppo_too() {
        for names in [&["authors_code.toml"][..], &["paper.toml", "llama-3-8b.toml", "authors_code.toml"]] {
            let script = files(names);
            assert_eq!(script.policy.optim, Optim::Adafactor);
            assert_eq!(script.ppo.scheduler, LearningRateScheduler::Linear);
            assert_eq!(script.ppo.response_length, ResponseLength::Uniform { min: 32, max: 512 });
            assert_eq!((script.ppo.reward_scaling, script.reward.probability), (None, true));
            assert!(!script.ppo.early_stopping);
        }
        assert_eq!(files(&["authors_code.toml"]), Config::authors());
    }

    #[test]
    fn every_file_can_be_used_with_every_other_for_the_whole_procedure() {
        let datasets = ["hh.toml", "ultrafeedback.toml", "tldr.toml", "stackexchange.toml"];
        let models = ["llama-3-8b.toml", "llama-3-70b.toml", "llama-2-13b.toml", "mistral-7b.toml"];
        for (data, model) in datasets.iter().flat_map(|data| models.map(|model| (*data, model))) {
            for names in [&["paper.toml", data, model][..], &[data, model, "authors_code.toml"]] {
                let mut config = files(names);
                config.policies.train = true;
                config.check().unwrap();
            }
        }
        assert_eq!(fs::read_dir(folder()).unwrap().count(), 10, "paper and script, four datasets, four models");
        let hh = files(&["hh.toml"]);
        assert!(hh.data.last_round_only);
        assert!(hh.run.data.unwrap().to_str().unwrap().contains("helpful-*/train"));
    }

    #[test]
    fn a_variant_of_a_later_file_or_flag_replaces_an_earlier_one() {
        let length = |value: &str| load(&["ppo.response_length={fixed=9}", value]).unwrap().ppo.response_length;
        assert_eq!(length("ppo.response_length.uniform={min=3,max=5}"), ResponseLength::Uniform { min: 3, max: 5 });
        assert_eq!(length("ppo.response_length.fixed=7"), ResponseLength::Fixed(7));
        let scaling = |keys: &[&str]| load(keys).unwrap().ppo.reward_scaling;
        assert_eq!(scaling(&["ppo.reward_scaling=none"]), None);
        assert_eq!(scaling(&["ppo.reward_scaling=none", "ppo.reward_scaling.clip=0.25"]).unwrap().clip, 0.25);
    }

    #[test]
    fn bad_values_are_named_by_their_key() {
        let mut wrong = Vec::new();
        for (setting, said) in [
            // Of the wrong kind.
            ("training.learning_rate=fast", "setting training.learning_rate: invalid type: string \"fast\""),
            ("sft.training.epochs=1.5", "setting sft.training.epochs: invalid type: floating point"),
            ("policy.lora.rank=[8]", "setting policy.lora.rank: invalid type: sequence"),
            ("training.lerning_rate=1", "setting training.lerning_rate: unknown field `lerning_rate`"),
            ("trainig.epochs=1", "setting trainig: unknown field `trainig`"),
            ("loop.schedule={kind=\"paper\",plan=3}", "setting loop.schedule: invalid type: integer `3`"),
            ("loop.anchor=pool", "setting loop.anchor: unknown variant `pool`"),
            ("ppo.reward_scaling.clipp=0.1", "setting ppo.reward_scaling.clipp: unknown field `clipp`"),
            ("training.learning_rate.x=1", "setting training.learning_rate.x: invalid type: map"),
            // Out of their range.
            ("training.learning_rate=-1.0", "training.learning_rate is -1; it must be at least 0"),
            ("sft.training.learning_rate=-1.0", "sft.training.learning_rate is -1"),
            ("dpo.training.batch_size=0", "dpo.training.batch_size is 0"),
            ("base.training.epochs=0", "base.training.epochs is 0"),
            ("lora.rank=0", "lora.rank is 0"),
            ("sft.lora.dropout=1.0", "sft.lora.dropout is 1"),
            ("policy.lora.alpha=0.0", "policy.lora.alpha is 0"),
            ("policy.max_grad_norm=0.0", "policy.max_grad_norm is Some(0.0)"),
            ("dpo.lora.rank=0", "dpo.lora.rank is 0"),
            ("dpo.beta=0.0", "dpo.beta is 0"),
            ("sft.training.save_steps=0", "sft.training.save_steps is 0"),
            ("split.test=-0.1", "split.test = -0.1"),
            ("split.sft=0.5", "split.sft + rm + ppo = 1.2"),
            ("text.max_length=0", "text.max_length = 0"),
            ("data.max_row_bytes=0", "data.max_row_bytes = 0"),
            ("model.token_budget=0", "model.token_budget is 0"),
            ("loop.thresholds.tau_low=0.7", "loop.thresholds.tau_low is 0.7"),
            ("loop.thresholds.tau_delta=2.0", "loop.thresholds.tau_delta is 2"),
            ("loop.schedule={kind=\"paper\",plan=[]}", "loop.schedule.plan is empty"),
            ("loop.loss.margin=-1.0", "loop.loss.margin is -1"),
            ("loop.balance.max_side_share=0.2", "loop.balance.max_side_share is 0.2"),
            ("loop.bootstrap.resamples=1", "loop.bootstrap.resamples is 1"),
            ("loop.audit.bins=0", "loop.audit.bins is 0"),
            ("loop.drift_limits.spread=2.0", "loop.drift_limits.spread is 2"),
            ("loop.precision_target.precision=1.0", "loop.precision_target.precision is 1"),
            ("prompts.answers.attempts=0", "prompts.answers.attempts is 0"),
            ("prompts.answers.sampling.temperature=0.0", "prompts.answers.sampling.temperature is 0"),
            ("prompts.answers.sampling.top_p=2.0", "prompts.answers.sampling.top_p is 2"),
            ("policies.sampling.top_p=0.0", "policies.sampling.top_p is 0"),
            ("policies.sampling.samples_per_prompt=2", "policies.sampling.samples_per_prompt must be 1"),
            ("ppo.mini_batch_size=9", "ppo.mini_batch_size is 9"),
            ("ppo.reward_scaling.clip=1.0", "ppo.reward_scaling.clip is 1"),
            ("policy_run.steps=0", "policy_run.steps is 0"),
            ("policy_run.stop=[\"\"]", "policy_run.stop is \"\""),
            ("policy_run.min_new_tokens=300", "policy_run.min_new_tokens is 300"),
            ("corpus.label_noise=0.7", "corpus.label_noise is 0.7"),
            ("corpus.pairs=1000000", "[corpus]: the built-in corpus has"),
            ("base.shape.hidden_size=0", "[base.shape]: base model settings: hidden_size is 0"),
        ] {
            let error = load(&[setting]).err().map_or("taken".to_owned(), |error| format!("{error:#}"));
            if !error.starts_with(said) || error.contains('\n') {
                wrong.push(format!("{setting}: {error}"));
            }
        }
        assert_eq!(wrong, [""; 0]);
        let judge = ["judge={endpoint=\"ftp://x\",model=\"m\"}"];
        assert!(load(&judge).unwrap_err().to_string().starts_with("judge.endpoint is"));
        // Eq. 7 is for probabilities; a raw score is not one.
        let raw = ["reward.probability=false", "reward.model=rm"];
        assert!(load(&raw).unwrap_err().to_string().contains("ppo.reward_scaling"));
        assert!(load(&[&raw[..], &["ppo.reward_scaling=none"]].concat()).is_ok());
    }

    #[test]
    fn a_bad_value_in_a_file_has_its_file_line_and_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let said = |text: &str| {
            fs::write(&path, text).unwrap();
            Config::from_files([&path]).unwrap_err().to_string()
        };
        let text = said("[sft.training]\n\nlearning_rate = \"fast\"\n");
        assert!(
            text.contains("mine.toml line 3") && text.contains(": sft.training.learning_rate: invalid type"),
            "{text}"
        );
        let text = said("[lora]\nrank = 8\nrankk = 9\n");
        assert!(text.contains("mine.toml line 3: lora.rankk: unknown field `rankk`"), "{text}");
        let text = said("[lora]\nrank = = 8\n");
        assert!(text.contains("mine.toml line 2: "), "{text}");
        // A value that cannot be used, and one that a later layer replaces.
        let text = said("[sft]\ntraining = { epochs = 1, learning_rate = -1.0 }\n");
        assert!(text.contains("mine.toml line 2: sft.training.learning_rate is -1"), "{text}");
        let later = Config::builder().file(&path).unwrap().set("sft.training.learning_rate=-2.0").unwrap().build();
        let error = later.unwrap_err();
        assert_eq!((error.file(), error.line(), error.value()), (None, None, Some("-2.0")));
        assert_eq!((error.table(), error.key()), (Some("sft.training"), Some("sft.training.learning_rate")));
    }
}
