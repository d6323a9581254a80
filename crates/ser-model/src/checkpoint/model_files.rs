//! The text files of a model: those of its folder, or those that a GGUF file stands for.

use std::path::{Path, PathBuf};

use ser_data::{PairTokenizer, TextSettings};

#[cfg(feature = "gguf")]
use super::gguf::GgufFile;
use crate::ModelError;

/// Where a model's files lie.
pub(crate) enum ModelFiles {
    /// In a folder.
    Folder(PathBuf),
    /// In one GGUF file.
    #[cfg(feature = "gguf")]
    Gguf(Box<GgufFile>),
}

/// Whether a path names a GGUF file: something other than a folder whose name ends in `.gguf`.
pub(crate) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) && !path.is_dir()
}

impl ModelFiles {
    /// Opens a folder or a GGUF file.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        if !is_gguf(path) {
            return Ok(ModelFiles::Folder(path.to_owned()));
        }
        #[cfg(feature = "gguf")]
        return GgufFile::open(path).map(|file| ModelFiles::Gguf(Box::new(file)));
        #[cfg(not(feature = "gguf"))]
        return Err(without_gguf(path));
    }

    /// The path that errors about a file name: the file, or the GGUF file that stands for it.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        match self {
            ModelFiles::Folder(folder) => folder.join(name),
            #[cfg(feature = "gguf")]
            ModelFiles::Gguf(file) => file.path().to_owned(),
        }
    }

    /// The text of a file; `None` if there is no such file.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, ModelError> {
        match self {
            ModelFiles::Folder(folder) => {
                let path = folder.join(name);
                match std::fs::read_to_string(&path) {
                    Ok(text) => Ok(Some(text)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(ModelError::file(&path, error)),
                }
            }
            #[cfg(feature = "gguf")]
            ModelFiles::Gguf(file) => match name {
                "config.json" => file.config_json().map(Some),
                "generation_config.json" => file.generation_config_json().map(Some),
                "tokenizer.json" | "tokenizer_config.json" => {
                    let found = file.tokenizer_files()?.into_iter().find(|(found, _)| *found == name);
                    Ok(found.map(|(_, text)| text))
                }
                _ => Ok(None),
            },
        }
    }

    /// The text of a file that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<String, ModelError> {
        self.text(name)?.ok_or_else(|| ModelError::Missing { path: self.path_of(name) })
    }

    /// Copies those of the files that there are into a folder.
    pub(crate) fn copy(&self, names: &[&str], to: &Path) -> Result<(), ModelError> {
        for name in names {
            let target = to.join(name);
            match self {
                ModelFiles::Folder(folder) => {
                    let source = folder.join(name);
                    if source.is_file() && source != target {
                        let bytes = std::fs::read(&source).map_err(|e| ModelError::file(&source, e))?;
                        std::fs::write(&target, bytes).map_err(|e| ModelError::file(&target, e))?;
                    }
                }
                #[cfg(feature = "gguf")]
                ModelFiles::Gguf(_) => {
                    if let Some(text) = self.text(name)? {
                        std::fs::write(&target, text).map_err(|e| ModelError::file(&target, e))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The tokenizer of a model, which is a folder or, with the feature `gguf`, a GGUF file.
///
/// # Errors
/// [`ModelError::Data`] as [`PairTokenizer::from_folder`], and [`ModelError::Gguf`].
pub fn load_tokenizer(model: &Path, settings: &TextSettings) -> Result<PairTokenizer, ModelError> {
    match ModelFiles::open(model)? {
        ModelFiles::Folder(folder) => Ok(PairTokenizer::from_folder(folder, settings)?),
        #[cfg(feature = "gguf")]
        ModelFiles::Gguf(file) => Ok(PairTokenizer::from_texts(model, &file.tokenizer_files()?, settings)?),
    }
}

/// Whether a model, which is a folder or, with the feature `gguf`, a GGUF file, has a chat template.
///
/// # Errors
/// A file that cannot be read, or is damaged.
pub fn has_chat_template(model: &Path) -> Result<bool, ModelError> {
    match ModelFiles::open(model)? {
        ModelFiles::Folder(folder) => Ok(ser_data::has_chat_template(folder)?),
        #[cfg(feature = "gguf")]
        ModelFiles::Gguf(file) => file.has_chat_template(),
    }
}

/// The error of a GGUF file where they are not read.
#[cfg(not(feature = "gguf"))]
pub(crate) fn without_gguf(path: &Path) -> ModelError {
    let problem = "GGUF files are not read, because the feature `gguf` is off in this build".to_owned();
    ModelError::Gguf { path: path.to_owned(), problem }
}
