//! The record of a labelled pair.
//!
//! Numbers are little-endian; a length is 8 bytes. In order: id, side, weight, probability, margin (NaN for none), messages of
//! the prompt, both answers, the turns of both answers if there are any, the raw texts. A text is its length and its bytes,
//! messages are their number and each message's role, content and further fields as JSON (empty for none).

use std::sync::Arc;

use ser_core::{Message, Origin, Pair, PairId, Preference, RawText, Role, Side};
use serde_json::Map;

const ROLES: [Role; 4] = [Role::System, Role::User, Role::Assistant, Role::Tool];

/// The CRC-32 of a record.
pub(super) fn checksum(record: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(record);
    crc.sum()
}

/// Appends the record of a pair with a human label.
pub(super) fn encode(preference: &Preference, out: &mut Vec<u8>) {
    let Preference { pair, preferred, origin: _, weight, margin, probability } = preference;
    out.extend(pair.id.0.to_le_bytes());
    out.push(preferred.index() as u8);
    for number in [*weight, *probability, margin.unwrap_or(f64::NAN)] {
        out.extend(number.to_le_bytes());
    }
    put_messages(&pair.prompt, out);
    pair.responses.iter().for_each(|text| put_text(text, out));
    match &pair.response_turns {
        None => out.push(0),
        Some(turns) => {
            out.push(1);
            turns.iter().for_each(|turns| put_messages(turns, out));
        }
    }
    match &pair.raw {
        RawText::None => out.push(0),
        RawText::Joined => out.push(1),
        RawText::Whole(texts) => {
            out.push(2);
            texts.iter().for_each(|text| put_text(text, out));
        }
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_messages(messages: &[Message], out: &mut Vec<u8>) {
    out.extend((messages.len() as u64).to_le_bytes());
    for message in messages {
        out.push(ROLES.iter().position(|role| *role == message.role).unwrap_or_default() as u8);
        put_text(&message.content, out);
        put_text(&message.extra_json().unwrap_or_default(), out);
    }
}

/// The pair of a record; `None` if the bytes are not a record.
pub(super) fn decode(record: &[u8]) -> Option<Preference> {
    let mut reader = Reader(record);
    let id = PairId(reader.number()?);
    let preferred = match reader.byte()? {
        0 => Side::A,
        1 => Side::B,
        _ => return None,
    };
    let mut number = || reader.number().map(f64::from_bits);
    let (weight, probability, margin) = (number()?, number()?, number()?);
    let prompt = reader.messages()?;
    let responses = [reader.text()?, reader.text()?];
    let response_turns = match reader.byte()? {
        0 => None,
        1 => Some(Box::new([reader.messages()?, reader.messages()?])),
        _ => return None,
    };
    let raw = match reader.byte()? {
        0 => RawText::None,
        1 => RawText::Joined,
        2 => RawText::Whole([reader.text()?, reader.text()?]),
        _ => return None,
    };
    let pair = Arc::new(Pair { id, prompt, responses, response_turns, raw });
    let margin = (!margin.is_nan()).then_some(margin);
    reader.0.is_empty().then_some(Preference { pair, preferred, origin: Origin::Human, weight, margin, probability })
}

/// The bytes that are not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let len = usize::try_from(self.number()?).ok()?;
        String::from_utf8(self.bytes(len)?.to_vec()).ok()
    }

    fn messages(&mut self) -> Option<Vec<Message>> {
        (0..self.number()?).map(|_| self.message()).collect()
    }

    fn message(&mut self) -> Option<Message> {
        let role = *ROLES.get(usize::from(self.byte()?))?;
        let content = self.text()?;
        let extra = match self.text()?.as_str() {
            "" => Map::new(),
            json => serde_json::from_str(json).ok()?,
        };
        Some(Message { role, content, extra })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn message() -> impl Strategy<Value = Message> {
        let extra = prop_oneof![
            3 => Just(Map::new()),
            1 => (any::<f64>(), ".{0,9}").prop_map(|(number, text)| {
                let call = json!([{"name": "f", "arguments": {"z": number, "a": text}}]);
                Map::from_iter([("tool_calls".to_owned(), call), ("a".to_owned(), json!(null))])
            }),
        ];
        (0..4usize, ".{0,30}", extra).prop_map(|(role, content, extra)| Message { role: ROLES[role], content, extra })
    }

    fn preference() -> impl Strategy<Value = Preference> {
        let messages = || prop::collection::vec(message(), 0..4);
        let texts = || [".{0,40}", ".{0,40}"];
        let raw = prop_oneof![Just(RawText::None), Just(RawText::Joined), texts().prop_map(RawText::Whole)];
        let turns = prop::option::of([messages(), messages()].prop_map(Box::new));
        let numbers = (0.0..9.0f64, 0.0..1.0f64, prop::option::of(-9.0..9.0f64));
        (any::<u64>(), any::<bool>(), messages(), texts(), turns, raw, numbers).prop_map(
            |(id, a, prompt, responses, response_turns, raw, (weight, probability, margin))| {
                let pair = Arc::new(Pair { id: PairId(id), prompt, responses, response_turns, raw });
                let preferred = if a { Side::A } else { Side::B };
                Preference { weight, probability, margin, ..Preference::human(pair, preferred) }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn records_come_back_and_no_part_of_one_is_a_record(preference in preference(), cut: prop::sample::Index) {
            let mut bytes = Vec::new();
            encode(&preference, &mut bytes);
            prop_assert_eq!(decode(&bytes), Some(preference));
            prop_assert_eq!(decode(&bytes[..cut.index(bytes.len())]), None);
            bytes.push(0);
            prop_assert_eq!(decode(&bytes), None);
        }
    }

    #[test]
    fn a_length_beyond_the_record_is_no_record() {
        let pair = Arc::new(Pair::from_text(PairId(1), "q", "a", "b"));
        let mut bytes = Vec::new();
        encode(&Preference::human(pair, Side::B), &mut bytes);
        // The number of the prompt's messages.
        bytes[33..41].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(decode(&bytes), None);
    }
}
