//! Runs that `cargo xtask reliability` starts and makes fail at each operation on files. They work in the current folder.

#![allow(clippy::unwrap_used)]

mod support;

use ser::{Baselines, LoopSettings, MetricsLog, RunFolder, SelfEvolution};
use support::{Linear, chain, data_with_pool, settings};

/// A file of the inputs that the task made.
fn input(name: &str) -> Option<std::path::PathBuf> {
    std::env::var_os("SER_TEST_INPUTS").map(|folder| std::path::PathBuf::from(folder).join(name))
}

/// Ends the process as programs do: one sentence and exit code 1.
fn end<T, E: std::error::Error>(result: Result<T, E>) {
    if let Err(error) = result {
        eprintln!("error: {}", chain(&error).replace('\n', " "));
        std::process::exit(1);
    }
}

/// The loop with a linear model.
#[test]
#[ignore = "started by `cargo xtask reliability`"]
fn linear_run() {
    if std::env::var_os("SER_TEST_INPUTS").is_none() {
        return;
    }
    let settings = LoopSettings { baselines: Baselines::none(), prune_models: true, ..settings() };
    let mut learner = Linear { epochs: 6, ..Linear::default() };
    end(RunFolder::open("run", true).and_then(|mut run| {
        let log = MetricsLog::append("run/metrics.jsonl")?;
        SelfEvolution::new(settings).observer(log).run_in(&mut learner, data_with_pool(1, 60), &mut run)
    }));
}

/// Builds an index that is stopped after every few thousand pairs, each time with a checkpoint, and goes on.
fn build_with_stops<T>(mut build: impl FnMut(&mut ser::Context<'_>) -> Result<T, ser::data::DataError>) {
    use ser::{Context, Control, Event, observer_fn};

    loop {
        let mut observer = observer_fn(|event| match event {
            Event::Advanced { .. } => Control::Stop,
            _ => Control::Continue,
        });
        match build(&mut Context::new("index", &mut observer)) {
            Err(ser::data::DataError::Stopped { .. }) => {}
            result => return end(result),
        }
    }
}

/// An index of tokens.
#[cfg(feature = "index")]
#[test]
#[ignore = "started by `cargo xtask reliability`"]
fn index_build() {
    use ser::data::{PairTokenizer, ReadSettings, TextSettings, TokenIndex};

    let (Some(data), Some(model)) = (input("many.jsonl"), std::env::var_os("SER_TEST_TOKENIZER")) else {
        return;
    };
    let tokenizer = PairTokenizer::from_folder(model, &TextSettings::default()).unwrap();
    build_with_stops(|cx| TokenIndex::open_or_build(&data, &tokenizer, &ReadSettings::default(), "index".as_ref(), cx));
}

/// An index of pairs.
#[test]
#[ignore = "started by `cargo xtask reliability`"]
fn pair_index_build() {
    use ser::data::{PairIndex, ReadSettings};

    let Some(data) = input("many.jsonl") else { return };
    build_with_stops(|cx| PairIndex::open_or_build(&data, &ReadSettings::default(), "index".as_ref(), cx));
}

/// Features of many pairs, kept in a file; what comes of them is written beside it.
#[cfg(feature = "linear")]
#[test]
#[ignore = "started by `cargo xtask reliability`"]
fn feature_cache() {
    use ser::linear::{CachedFeatures, Features};
    use ser::ndarray::Array3;
    use ser::{BoxError, Context, Pair};
    use std::sync::Arc;

    struct Lengths;
    impl Features for Lengths {
        type Error = BoxError;
        fn view_sizes(&self) -> Vec<usize> {
            vec![4]
        }
        fn identity(&self) -> String {
            "lengths".to_owned()
        }
        fn features(&mut self, pairs: &[Arc<Pair>], _: &mut Context<'_>) -> Result<Array3<f32>, BoxError> {
            Ok(Array3::from_shape_fn((pairs.len(), 2, 4), |(pair, side, i)| {
                let bytes = pairs[pair].responses[side].bytes();
                bytes.map(f32::from).sum::<f32>() / (i + 1) as f32
            }))
        }
    }
    if input("few.jsonl").is_none() {
        return;
    }
    let pairs: Vec<Arc<Pair>> = support::pairs(150, 0, 1).into_iter().map(|(pair, _)| pair).collect();
    let features = CachedFeatures::open(Lengths, "cache.features").map_err(BoxError::from);
    let computed = features.and_then(|mut cache| cache.features(&pairs, &mut Context::silent()));
    let written = computed.and_then(|features| {
        let bits: Vec<u32> = features.iter().map(|value| value.to_bits()).collect();
        std::fs::write("features.new", serde_json::to_string(&bits)?)?;
        Ok(std::fs::rename("features.new", "features.json")?)
    });
    if let Err(error) = written {
        end(Err::<(), _>(std::io::Error::other(error)));
    }
}
