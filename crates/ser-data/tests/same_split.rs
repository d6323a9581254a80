//! The split depends on the prompts alone, not on file format, order of rows or number of threads.

#![cfg(all(feature = "index", feature = "parquet"))]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ser_core::{Context, Preference};
use ser_data::{
    PairTokenizer, PreferenceFile, PreferenceWriter, ReadSettings, SplitPart, SplitSettings, TextSettings, TokenIndex,
    split, train_tokenizer,
};

type Parts = BTreeMap<String, SplitPart>;

const PROMPTS: usize = 300;

fn preferences(data: &Path) -> Vec<Preference> {
    PreferenceFile::open(data, &ReadSettings::default()).unwrap().read_all().unwrap().0
}

/// Which part each prompt is in; a prompt in two is an error.
fn parts<'a>(of: impl Iterator<Item = (&'a Preference, SplitPart)>) -> Parts {
    let mut parts = Parts::new();
    for (preference, part) in of {
        let prompt = &preference.pair.prompt[0].content;
        assert_eq!(*parts.entry(prompt.clone()).or_insert(part), part, "{prompt} is in two parts");
    }
    parts
}

fn in_memory(data: &Path, settings: &SplitSettings) -> Parts {
    let all = preferences(data);
    let split = split(all.iter().map(|preference| preference.pair.as_ref()), settings).unwrap();
    parts(all.iter().zip(split.parts().iter().copied()))
}

fn on_disk(data: &Path, settings: &SplitSettings, tokenizer: &PairTokenizer, folder: &Path) -> Parts {
    let by_id: BTreeMap<_, _> = preferences(data).into_iter().map(|found| (found.pair.id, found)).collect();
    let index =
        TokenIndex::open_or_build(data, tokenizer, &ReadSettings::default(), folder, &mut Context::silent()).unwrap();
    let split = index.split(settings, None).unwrap();
    parts(
        (0..index.len())
            .map(|position| (&by_id[&index.get(position).unwrap().unwrap().id], split.part(position).unwrap())),
    )
}

/// Rows of every container below `folder`, and as shards in three orders.
fn containers(folder: &Path) -> Vec<PathBuf> {
    // Of every prompt one to three pairs, which stand far apart: in different shards.
    let row = |i: usize| {
        let prompt = i % PROMPTS;
        (i < PROMPTS || prompt.is_multiple_of(i / PROMPTS + 1))
            .then(|| format!(r#"{{"prompt": "question {prompt}", "chosen": "good {i}", "rejected": "bad {}"}}"#, i * 7))
    };
    let rows: Vec<String> = (0..3 * PROMPTS).filter_map(row).collect();
    let lines = folder.join("lines.jsonl");
    fs::write(&lines, rows.join("\n")).unwrap();
    let array = folder.join("array.json");
    fs::write(&array, format!("[{}]", rows.join(",\n"))).unwrap();
    let mut all = vec![lines.clone(), array];
    for name in ["packed.jsonl.gz", "packed.jsonl.zst", "table.parquet"] {
        let path = folder.join(name);
        let mut writer = PreferenceWriter::create(&path).unwrap();
        preferences(&lines).iter().for_each(|preference| writer.write(preference).unwrap());
        writer.finish().unwrap();
        all.push(path);
    }
    for order in [["0", "1", "2"], ["2", "0", "1"], ["1", "2", "0"]] {
        let shards = folder.join(format!("shards-{}", order.concat()));
        fs::create_dir(&shards).unwrap();
        for (name, rows) in order.iter().zip(rows.chunks(rows.len().div_ceil(3))) {
            fs::write(shards.join(format!("part-{name}.jsonl")), rows.join("\n")).unwrap();
        }
        all.push(shards);
    }
    all
}

#[test]
fn threads_containers_and_the_order_of_shards_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    train_tokenizer(["question good bad 0123456789"].into_iter(), 300, &model).unwrap();
    let tokenizer = PairTokenizer::from_folder(&model, &TextSettings::default()).unwrap();
    let settings = SplitSettings { seed: 3, ..SplitSettings::default() };
    let containers = containers(folder.path());
    let expected = in_memory(&containers[0], &settings);
    assert_eq!(expected.len(), PROMPTS);
    assert!(SplitPart::ALL.iter().all(|part| expected.values().any(|other| other == part)), "every part has prompts");
    assert_ne!(preferences(&containers[5]), preferences(&containers[6]), "shards in another order are other rows");

    let mut tokens = Vec::new();
    for threads in [1, 2, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for data in &containers {
            let cache = folder.path().join(format!("cache-{threads}"));
            pool.install(|| {
                assert_eq!(in_memory(data, &settings), expected, "{}, {threads} threads", data.display());
                let found = on_disk(data, &settings, &tokenizer, &cache);
                assert_eq!(found, expected, "index of {}, {threads} threads", data.display());
            });
        }
        let read = ReadSettings::default();
        let cache = folder.path().join(format!("cache-{threads}"));
        let index =
            TokenIndex::open_or_build(&containers[0], &tokenizer, &read, &cache, &mut Context::silent()).unwrap();
        tokens.push(["tokens.bin", "pairs.bin", "index.json"].map(|name| fs::read(index.folder().join(name)).unwrap()));
    }
    assert!(tokens.windows(2).all(|two| two[0] == two[1]), "the index is the same to the byte");
}
