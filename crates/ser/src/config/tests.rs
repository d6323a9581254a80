use super::*;

#[test]
fn a_seed_of_0_is_a_seed() {
    let config = Config::from_toml("[run]\nseed = 7\n[split]\nseed = 0\n").unwrap();
    assert_eq!((config.split.seed, config.evolution.seed, config.policies.sampling.seed), (0, 7, 7));
    let mut config = config.with_seed(9);
    assert_eq!((config.split.seed, config.ppo.seed), (0, 9));
    config.set("run.seed=11").unwrap();
    assert_eq!((config.split.seed, config.corpus.seed), (0, 11));
    config.set("ppo.seed=0").unwrap();
    config.set("run.seed=12").unwrap();
    assert_eq!((config.ppo.seed, config.evolution.seed), (0, 12));
}

#[test]
fn what_is_written_reads_back() {
    for config in [Config::paper(), Config::authors().with_seed(5)] {
        let text = config.to_toml().unwrap();
        let back = Config::from_toml(&text).unwrap();
        assert_eq!(back, config);
        // Its parts still take the run's seed.
        assert_eq!(back.with_seed(8).split.seed, 8);
    }
    let own = Config::from_toml("[split]\nseed = 3").unwrap();
    assert_eq!(Config::from_toml(&own.to_toml().unwrap()).unwrap().with_seed(8).split.seed, 3);
}

#[test]
fn a_key_changes_nothing_else() {
    let mut config = Config::paper();
    config.text.max_length = None;
    config.judge = Some(JudgeSettings { temperature: None, ..JudgeSettings::default() });
    config.set("split.test = 0.2").unwrap();
    assert_eq!((config.split.test, config.text.max_length), (0.2, None), "an option without a value has none still");
    assert_eq!(config.judge.as_ref().and_then(|judge| judge.temperature), None);
    let before = config.clone();
    for (wrong, key) in
        [("split.tset=0.2", Some("split.tset")), ("split.test=much", Some("split.test")), ("split", None)]
    {
        assert_eq!(config.set(wrong).unwrap_err().key(), key, "{wrong}");
        assert_eq!(config, before);
    }
}

#[test]
fn presets_are_sound() {
    Config::paper().check().unwrap();
    Config::authors().check().unwrap();
    #[cfg(feature = "libtorch")]
    for presets in [&[DEMO][..], &[DEMO, DEMO_POLICIES], &[TINY_PPO]] {
        let builder = presets.iter().fold(Config::builder(), |builder, preset| builder.preset(preset).unwrap());
        builder.set("policies.train=true").unwrap().build().unwrap();
    }
    #[cfg(feature = "libtorch")]
    Config::builder().preset(FEW_LABELS).unwrap().build().unwrap();
}

/// Of a missing key, a part of the path is named in the file.
#[test]
fn lines_are_found() {
    let text = "[a]\nb = { c = 1,\n d = 2 }\n\n[x.y]\nz = 3\n";
    for (key, line) in [("a", 1), ("a.b.d", 3), ("a.b.e", 2), ("x.y.z", 6)] {
        assert_eq!(tables::line_of(text, key), Some(line), "{key}");
    }
    assert_eq!(tables::line_of(text, "q.r"), None);
}

#[cfg(not(feature = "libtorch"))]
#[test]
fn a_table_for_language_models_needs_the_feature() {
    let error = Config::from_toml("[split]\ntest = 0.2\n[sft]\nturns = \"all\"\n").unwrap_err();
    assert!(error.to_string().contains("line 3: sft: the table [sft] is for language models"), "{error}");
    assert!(error.to_string().contains("feature `libtorch`"), "{error}");
}

#[test]
fn an_earlier_name_of_a_key_is_replaced_by_a_later_layer() {
    let builder = Config::builder().preset("[loop]\npool_reuse = \"rest\"\n").unwrap();
    let config = builder.toml("[loop]\ncarry = \"whole\"\n").unwrap().build().unwrap();
    assert_eq!(config.evolution.pool_reuse, crate::PoolReuse::Whole);
    let config = Config::builder().set("loop.choice=last").unwrap().set("loop.model_selection=validation").unwrap();
    assert_eq!(config.build().unwrap().evolution.model_selection, crate::ModelSelection::Validation);
}

#[cfg(feature = "libtorch")]
#[test]
fn settings_of_the_other_kind_of_reward_model_are_told() {
    let unused =
        |text: &str| Config::builder().preset(FEW_LABELS).unwrap().toml(text).unwrap().build().unwrap().unused();
    assert!(unused("[linear]\ncomponents = 20").is_empty(), "keys of a preset are not given");
    let told = unused("[lora]\nrank = 4\n[training]\nepochs = 1\n[loop]\nwarm_start = \"previous\"");
    assert_eq!(told.len(), 3);
    assert!(told[0].contains("lora are given but not used: reward_model.kind is \"linear\""), "{told:?}");
    let told = Config::from_toml("[linear]\ncomponents = 20").unwrap().unused();
    assert!(told[0].contains("linear are given but not used: reward_model.kind is \"adapter\""), "{told:?}");
    let error = Config::from_toml("[reward_model]\nkind = \"linear\"\n[linear]\ncomponents = 0").unwrap_err();
    assert_eq!((error.key(), error.line()), (Some("linear.components"), Some(4)), "{error}");
    let error = Config::from_toml("[reward_model]\nkind = \"linar\"").unwrap_err();
    assert!(error.to_string().contains("linar"), "{error}");
}
