//! Data of the pairs that their texts do not contain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rayon::prelude::*;
use ser_core::{BoxError, Pair, PairStore, Side};

use super::PairTokenizer;
use super::chat_template::ChatTemplate;
use super::turns::whole;
use crate::{DataError, TemplateKind};

/// Pairs that are read at a time.
const CHUNK: usize = 8192;

impl PairTokenizer {
    /// Data of the pairs that their texts do not contain, and other properties of the texts, one sentence each: fields of
    /// messages (reasoning, tool calls) that the template does not render, and the date that it writes.
    ///
    /// # Errors
    /// Pairs that cannot be read; a chat template that fails.
    pub fn notes(&self, pairs: &dyn PairStore) -> Result<Vec<String>, BoxError> {
        let mut notes = Vec::new();
        if self.chat_template.as_ref().is_some_and(ChatTemplate::reads_date) {
            let date = self.settings.date;
            notes.push(format!("the chat template writes the date; text.date = {date} stands for today"));
        }
        let mut fields: BTreeMap<String, usize> = BTreeMap::new();
        for start in (0..pairs.len()).step_by(CHUNK) {
            let chunk = pairs.read_range(start..(start + CHUNK).min(pairs.len()))?;
            for (field, count) in self.unrendered_fields(&chunk)? {
                *fields.entry(field).or_default() += count;
            }
        }
        for (field, count) in fields {
            let template = self.settings.template;
            notes.push(format!("`{field}` of {count} pairs is left out: the {template} template does not render it"));
        }
        Ok(notes)
    }

    /// Fields of messages besides `role` and `content` that the texts do not depend on, with the number of pairs.
    pub fn unrendered_fields(&self, pairs: &[Arc<Pair>]) -> Result<BTreeMap<String, usize>, DataError> {
        let found: Vec<Result<BTreeSet<String>, DataError>> =
            pairs.par_iter().map(|pair| self.unrendered_of(pair)).collect();
        let mut counts = BTreeMap::new();
        for fields in found {
            for field in fields? {
                *counts.entry(field).or_insert(0) += 1;
            }
        }
        Ok(counts)
    }

    fn unrendered_of(&self, pair: &Pair) -> Result<BTreeSet<String>, DataError> {
        let conversations = [Side::A, Side::B].map(|side| whole(pair, side));
        let messages = conversations.iter().flatten();
        let mut fields: BTreeSet<String> = messages.flat_map(|message| message.extra.keys().cloned()).collect();
        if self.settings.template == TemplateKind::Chat && !fields.is_empty() {
            let what = || format!("pair {}", pair.id.0);
            let mut rendered = BTreeSet::new();
            for conversation in &conversations {
                let text = self.chat(conversation, false, &what)?;
                for field in &fields {
                    let mut without = conversation.clone();
                    without.iter_mut().for_each(|message| drop(message.extra.remove(field)));
                    // A template that needs the field fails without it.
                    if self.chat(&without, false, &what).ok().as_ref() != Some(&text) {
                        rendered.insert(field.clone());
                    }
                }
            }
            fields.retain(|field| !rendered.contains(field));
        }
        Ok(fields)
    }
}
