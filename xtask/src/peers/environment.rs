//! The environment of a measurement besides the programs: Python packages, models, pairs. All of it lies in `.peers`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::pip;
use crate::workspace::{Workspace, run};

/// The folder `.peers`, with its virtual environment made.
pub(super) struct Environment {
    folder: PathBuf,
    scripts: PathBuf,
    /// A copy of the program `ser`, so that a measurement is of one program whatever is built meanwhile.
    program: PathBuf,
}

impl Environment {
    /// Makes the virtual environment if it is missing or its pins have changed, and copies the program `ser`.
    pub(super) fn prepare(workspace: &Workspace, program: &Path) -> Result<Self> {
        let folder = workspace.path(".peers");
        let scripts = workspace.path("xtask/peers");
        let environment = Environment { program: folder.join("ser"), folder, scripts };
        environment.install("venv", "requirements.txt")?;
        fs::copy(program, &environment.program).with_context(|| format!("copying {}", program.display()))?;
        Ok(environment)
    }

    /// Makes the virtual environment of old packages that TRL's PPOTrainer needs, which cannot share the others'.
    pub(super) fn prepare_ppo(&self) -> Result<()> {
        self.install("ppo", "requirements-ppo.txt")
    }

    fn install(&self, name: &str, requirements: &str) -> Result<()> {
        let pins_path = self.scripts.join(requirements);
        let pins = fs::read_to_string(&pins_path).with_context(|| format!("reading {}", pins_path.display()))?;
        let (venv, scratch) = (self.folder.join(name), self.folder.join("tmp"));
        // Written last, so it tells that the environment is whole.
        let installed = venv.join("installed.txt");
        if fs::read_to_string(&installed).is_ok_and(|text| text == pins) {
            return Ok(());
        }
        pip::check("run the peers")?;
        fs::create_dir_all(&scratch).with_context(|| format!("making {}", scratch.display()))?;
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--clear"]).arg(&venv);
        run(make)?;
        eprintln!("peers: installing PyTorch, transformers, TRL and PEFT into {} (about 6 GB)", venv.display());
        let arguments = ["install".as_ref(), "--requirement".as_ref(), pins_path.as_os_str()];
        pip::run(&venv.join("bin/python"), &arguments, &scratch).context("the peers could not be installed")?;
        fs::write(&installed, pins).with_context(|| format!("writing {}", installed.display()))
    }

    /// A command of the program `ser`: `score`, `train reward`.
    pub(super) fn ser(&self, command: &str) -> Command {
        let mut program = Command::new(&self.program);
        program.args(command.split(' '));
        program
    }

    /// One of the scripts of `xtask/peers`, ready for its arguments.
    pub(super) fn python(&self, script: &str) -> Command {
        self.python_of("venv", script)
    }

    /// The same with the packages of [`prepare_ppo`](Self::prepare_ppo).
    pub(super) fn ppo_python(&self, script: &str) -> Command {
        self.python_of("ppo", script)
    }

    fn python_of(&self, venv: &str, script: &str) -> Command {
        let mut command = Command::new(self.folder.join(venv).join("bin/python"));
        command.arg(self.scripts.join(script));
        // No lookup of models elsewhere, and no metrics sent anywhere.
        command.env("HF_HUB_OFFLINE", "1").env("WANDB_DISABLED", "true").env("TOKENIZERS_PARALLELISM", "true");
        command
    }

    /// The built-in corpus as a file.
    pub(super) fn corpus(&self, workspace: &Workspace) -> Result<PathBuf> {
        let file = self.folder.join("corpus.jsonl");
        let out = File::create(&file).with_context(|| format!("making {}", file.display()))?;
        let mut dump = workspace.cargo(&["run", "--release", "--package", "ser-data", "--example", "dump_corpus"]);
        dump.stdout(out);
        run(dump)?;
        Ok(file)
    }

    /// A file of the first `count` pairs of `data` that fit the length limit, so that both sides do the same work:
    /// they differ in what they do about longer ones. With `prompts`, of their prompts alone.
    pub(super) fn pairs(&self, data: &Path, count: u32, model: &Path, prompts: bool, longest: u32) -> Result<PathBuf> {
        let kind = if prompts { "-prompts" } else { "" };
        let name = format!("{count}{kind}-{longest}.jsonl");
        let file = self.data_folder(data)?.join(name);
        let mut cut = self.python("preferences.py");
        cut.args(prompts.then_some("--prompts")).args(["--max-length", &longest.to_string()]);
        cut.arg("--data").arg(data).args(["--pairs", &count.to_string(), "--out"]).arg(&file);
        cut.arg("--tokenizer").arg(model);
        run(cut)?;
        Ok(file)
    }

    /// A random-weight model whose tokenizer was trained on `data`.
    pub(super) fn model(&self, data: &Path, size: &str) -> Result<PathBuf> {
        let folder = self.data_folder(data)?.join(size);
        if !folder.join("complete").is_file() {
            let mut make = self.python("make_model.py");
            make.arg("--data").arg(data).args(["--size", size, "--out"]).arg(&folder);
            run(make)?;
            fs::write(folder.join("complete"), "").with_context(|| format!("writing into {}", folder.display()))?;
        }
        Ok(folder)
    }

    /// The model of a GGUF file as a Hugging Face folder, in f32.
    pub(super) fn hugging_face_model(&self, gguf: &Path) -> Result<PathBuf> {
        let name = gguf.file_stem().unwrap_or_default();
        let folder = self.folder.join(name);
        if !folder.join("complete").is_file() {
            let mut make = self.python("gguf_to_folder.py");
            make.arg("--gguf").arg(gguf).arg("--out").arg(&folder);
            run(make)?;
            fs::write(folder.join("complete"), "").with_context(|| format!("writing into {}", folder.display()))?;
        }
        Ok(folder)
    }

    /// A path in `.peers`.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// An empty folder of this name.
    pub(super) fn fresh_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        Ok(folder)
    }

    /// Keeps the results of this measurement.
    pub(super) fn save(&self, results: &Value) -> Result<()> {
        let file = self.folder.join("results.json");
        fs::write(&file, format!("{results:#}\n")).with_context(|| format!("writing {}", file.display()))
    }

    /// The folder for what is made from one data file: its name and size tell files apart.
    fn data_folder(&self, data: &Path) -> Result<PathBuf> {
        let Ok(metadata) = fs::metadata(data) else {
            bail!("{} does not exist: --data names a preference file in HH-RLHF's layout", data.display());
        };
        let name = data.file_name().unwrap_or_default().to_string_lossy().replace('.', "-");
        let folder = self.folder.join(format!("{name}-{}", metadata.len()));
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(folder)
    }
}
