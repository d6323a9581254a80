//! The metadata of a GGUF file: keys with numbers, texts or lists. Texts and lists stay in the mapped file until they
//! are asked for.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cursor::Cursor;

/// Most keys a file may have; current files have about 40.
const KEY_LIMIT: usize = 1 << 16;
/// Most entries of a list that is asked for.
const LIST_LIMIT: usize = 1 << 22;
/// The longest key, as the format's specification has it.
const KEY_BYTES: usize = 65_535;

/// The type of a list's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EntryType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    U64,
    I64,
    F64,
}

impl EntryType {
    /// The type with this number in the file; 9 is a list.
    fn of(id: u32) -> Option<Self> {
        use EntryType::{Bool, F32, F64, I8, I16, I32, I64, Text, U8, U16, U32, U64};
        let types = [U8, I8, U16, I16, U32, I32, F32, Bool, Text, Text, U64, I64, F64];
        types.get(id as usize).copied().filter(|_| id != LIST)
    }

    /// Bytes of one entry; of a text, its length.
    fn size(self) -> usize {
        match self {
            EntryType::U8 | EntryType::I8 | EntryType::Bool => 1,
            EntryType::U16 | EntryType::I16 => 2,
            EntryType::U32 | EntryType::I32 | EntryType::F32 => 4,
            EntryType::Text | EntryType::U64 | EntryType::I64 | EntryType::F64 => 8,
        }
    }
}

const LIST: u32 = 9;

/// A value, or where it lies in the file.
#[derive(Clone, Debug)]
enum Value {
    Integer(i128),
    Number(f64),
    Flag(bool),
    Text(Range<usize>),
    List { entry: EntryType, count: usize, range: Range<usize> },
}

/// A number of a file's f32: the f64 that its shortest decimal form stands for, as 1e-5 and not 9.999999747378752e-6.
fn widened(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// All keys of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Metadata {
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// Reads `count` keys with their values.
    pub(super) fn read(cursor: &mut Cursor<'_>, count: usize) -> Result<Self, String> {
        if count > KEY_LIMIT {
            return Err(format!("it has {count} metadata keys; at most {KEY_LIMIT} are read"));
        }
        let mut values = BTreeMap::new();
        for index in 0..count {
            let key = cursor.name(&format!("metadata key {index} (from 0)"), KEY_BYTES)?;
            let what = format!("metadata key {key}");
            let id = cursor.u32(&what)?;
            let value = if id == LIST { read_list(cursor, &what)? } else { read_value(cursor, id, &what)? };
            if values.insert(key.to_owned(), value).is_some() {
                return Err(format!("{what} occurs twice"));
            }
        }
        Ok(Metadata { values })
    }
}

fn read_value(cursor: &mut Cursor<'_>, id: u32, what: &str) -> Result<Value, String> {
    let Some(entry) = EntryType::of(id) else { return Err(format!("{what} has the unknown type {id}")) };
    Ok(match entry {
        EntryType::Text => Value::Text(cursor.text(what)?),
        EntryType::U8 => Value::Integer(cursor.u8(what)?.into()),
        EntryType::I8 => Value::Integer((cursor.u8(what)? as i8).into()),
        EntryType::U16 => Value::Integer(cursor.u16(what)?.into()),
        EntryType::I16 => Value::Integer((cursor.u16(what)? as i16).into()),
        EntryType::U32 => Value::Integer(cursor.u32(what)?.into()),
        EntryType::I32 => Value::Integer((cursor.u32(what)? as i32).into()),
        EntryType::U64 => Value::Integer(cursor.u64(what)?.into()),
        EntryType::I64 => Value::Integer((cursor.u64(what)? as i64).into()),
        EntryType::F32 => Value::Number(widened(f32::from_bits(cursor.u32(what)?))),
        EntryType::F64 => Value::Number(f64::from_bits(cursor.u64(what)?)),
        EntryType::Bool => match cursor.u8(what)? {
            0 => Value::Flag(false),
            1 => Value::Flag(true),
            other => return Err(format!("{what} is a flag with the value {other}; it must be 0 or 1")),
        },
    })
}

fn read_list(cursor: &mut Cursor<'_>, what: &str) -> Result<Value, String> {
    let id = cursor.u32(what)?;
    let entry = match EntryType::of(id) {
        Some(entry) => entry,
        None if id == LIST => return Err(format!("{what} is a list of lists, which is not read")),
        None => return Err(format!("{what} is a list of the unknown type {id}")),
    };
    let count = cursor.count(&format!("the number of entries of {what}"), entry.size())?;
    let start = cursor.position();
    if entry == EntryType::Text {
        for index in 0..count {
            // The text of an error is made only where one is reported.
            if cursor.text("").is_err() {
                return Err(format!("{what}: the file ends inside entry {index} of {count}, or its length is wrong"));
            }
        }
    } else {
        cursor.range((count * entry.size()) as u64, what)?;
    }
    Ok(Value::List { entry, count, range: start..cursor.position() })
}

/// The metadata with the bytes of the file that they lie in.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) bytes: &'a [u8],
}

impl<'a> Keys<'a> {
    pub(super) fn has(&self, key: &str) -> bool {
        self.metadata.values.contains_key(key)
    }

    /// The error of a value that is not what it must be.
    fn wrong(&self, key: &str, expected: &str) -> String {
        let found = match self.metadata.values.get(key) {
            None => return format!("metadata key {key} is missing; it must be {expected}"),
            Some(Value::Integer(n)) => n.to_string(),
            Some(Value::Number(x)) => x.to_string(),
            Some(Value::Flag(flag)) => flag.to_string(),
            Some(Value::Text(_)) => "a text".to_owned(),
            Some(Value::List { count, .. }) => format!("a list of {count}"),
        };
        format!("metadata key {key} is {found}; it must be {expected}")
    }

    /// A whole number from 0 on. A list counts if all of its entries are the same: some writers give one for each layer.
    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>, String> {
        const EXPECTED: &str = "a whole number of at least 0, the same for all layers";
        let whole = |n: i128| i64::try_from(n).ok().filter(|&n| n >= 0).ok_or_else(|| self.wrong(key, EXPECTED));
        match self.metadata.values.get(key) {
            None => Ok(None),
            Some(&Value::Integer(n)) => whole(n).map(Some),
            Some(Value::List { entry, .. }) if !matches!(entry, EntryType::Text | EntryType::Bool) => {
                let numbers = self.numbers(key)?.unwrap_or_default();
                match numbers.split_first() {
                    Some((&first, rest)) if first.fract() == 0.0 && rest.iter().all(|&n| n == first) => {
                        whole(first as i128).map(Some)
                    }
                    _ => Err(self.wrong(key, EXPECTED)),
                }
            }
            Some(_) => Err(self.wrong(key, EXPECTED)),
        }
    }

    /// A whole number that must be there.
    pub(super) fn required(&self, key: &str) -> Result<i64, String> {
        self.integer(key)?.ok_or_else(|| self.wrong(key, "a whole number"))
    }

    /// A finite number.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, String> {
        match self.metadata.values.get(key) {
            None => Ok(None),
            Some(&Value::Number(x)) if x.is_finite() => Ok(Some(x)),
            Some(&Value::Integer(n)) => Ok(Some(n as f64)),
            Some(_) => Err(self.wrong(key, "a finite number")),
        }
    }

    /// True or false.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        match self.metadata.values.get(key) {
            None => Ok(None),
            Some(&Value::Flag(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// A text.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.metadata.values.get(key) {
            None => Ok(None),
            Some(Value::Text(range)) => {
                let bytes = self.bytes.get(range.clone()).unwrap_or_default();
                std::str::from_utf8(bytes).map(Some).map_err(|_| format!("metadata key {key} is not UTF-8"))
            }
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    /// How many entries a list has.
    pub(super) fn count(&self, key: &str) -> Option<usize> {
        match self.metadata.values.get(key) {
            Some(&Value::List { count, .. }) => Some(count),
            _ => None,
        }
    }

    /// The value of a list that is not too long.
    fn list(&self, key: &str) -> Result<Option<&'a Value>, String> {
        match self.metadata.values.get(key) {
            Some(Value::List { count, .. }) if *count > LIST_LIMIT => {
                Err(format!("metadata key {key} is a list of {count}; at most {LIST_LIMIT} entries are read"))
            }
            value => Ok(value),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, String> {
        let Some(value) = self.list(key)? else { return Ok(None) };
        let Value::List { entry: EntryType::Text, count, range } = value else {
            return Err(self.wrong(key, "a list of texts"));
        };
        let mut cursor = Cursor::new(self.bytes.get(range.clone()).unwrap_or_default());
        let list = self.bytes.get(range.clone()).unwrap_or_default();
        let text = |index| {
            let text = list.get(cursor.text(key)?).unwrap_or_default();
            std::str::from_utf8(text).map_err(|_| format!("entry {index} of metadata key {key} is not UTF-8"))
        };
        (0..*count).map(text).collect::<Result<_, _>>().map(Some)
    }

    /// A list of numbers, whole or not; flags count as 0 and 1.
    pub(super) fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, String> {
        let Some(value) = self.list(key)? else { return Ok(None) };
        let Value::List { entry, range, .. } = value else { return Err(self.wrong(key, "a list of numbers")) };
        let bytes = self.bytes.get(range.clone()).unwrap_or_default();
        macro_rules! each {
            ($number:ty, $wide:expr) => {
                bytes.as_chunks().0.iter().map(|&bytes| $wide(<$number>::from_le_bytes(bytes))).collect()
            };
        }
        Ok(Some(match entry {
            EntryType::U8 | EntryType::Bool => each!(u8, f64::from),
            EntryType::I8 => each!(i8, f64::from),
            EntryType::U16 => each!(u16, f64::from),
            EntryType::I16 => each!(i16, f64::from),
            EntryType::U32 => each!(u32, f64::from),
            EntryType::I32 => each!(i32, f64::from),
            EntryType::F32 => each!(f32, f64::from),
            EntryType::U64 => each!(u64, |n| n as f64),
            EntryType::I64 => each!(i64, |n| n as f64),
            EntryType::F64 => each!(f64, f64::from),
            EntryType::Text => return Err(self.wrong(key, "a list of numbers")),
        }))
    }
}
