//! Writes the built-in corpus as JSONL (`prompt`, `chosen`, `rejected`, `part`, `truth`) to stdout.
//!
//! `cargo run -p ser-data --example dump_corpus -- '{"pairs": 1000, "seed": 1}' > corpus.jsonl`

use std::io::{self, Write};

use ser_data::corpus::{self, CorpusSettings};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match write() {
        // The reader has closed the pipe (`| head`).
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => {
            Ok(())
        }
        result => result,
    }
}

fn write() -> Result<(), Box<dyn std::error::Error>> {
    let settings: CorpusSettings = serde_json::from_str(&std::env::args().nth(1).unwrap_or_else(|| "{}".into()))?;
    let corpus = corpus::generate(&settings)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (name, part) in [("train", &corpus.train), ("test", &corpus.test)] {
        for (preference, truth) in part.preferences.iter().zip(&part.truths) {
            let prompt = preference.pair.prompt.first().map(|message| message.content.as_str());
            let (chosen, rejected) = (preference.chosen(), preference.rejected());
            let row = serde_json::json!({
                "prompt": prompt, "chosen": chosen, "rejected": rejected, "part": name, "truth": truth,
            });
            writeln!(out, "{row}")?;
        }
    }
    Ok(out.flush()?)
}
