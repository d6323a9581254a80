use ser::config::Config;
use ser::{LanguageModels, Procedure};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::from_files(["examples/paper/hh.toml", "examples/paper/llama-3-8b.toml"])?;
    config.run.model = Some("models/llama-3-8b".into());
    config.policies.train = true;

    let models = LanguageModels::new(&config)?;
    let outcome = Procedure::new(config, models).resume(true).run("runs/hh")?;
    println!("{}", outcome.report.to_text());
    Ok(())
}
