//! Raw scores in text formats that have no NaN and no infinities.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::RawScore;

const NAN: &str = "nan";
const INFINITE: &str = "inf";
const NEGATIVE_INFINITE: &str = "-inf";

impl Serialize for RawScore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let r = self.0;
        if r.is_finite() || !serializer.is_human_readable() {
            serializer.serialize_f64(r)
        } else if r.is_nan() {
            serializer.serialize_str(NAN)
        } else {
            serializer.serialize_str(if r > 0.0 { INFINITE } else { NEGATIVE_INFINITE })
        }
    }
}

impl<'de> Deserialize<'de> for RawScore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(NumberOrName).map(RawScore)
        } else {
            f64::deserialize(deserializer).map(RawScore)
        }
    }
}

struct NumberOrName;

impl Visitor<'_> for NumberOrName {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number, {NAN:?}, {INFINITE:?} or {NEGATIVE_INFINITE:?}")
    }

    fn visit_f64<E: Error>(self, r: f64) -> Result<f64, E> {
        Ok(r)
    }

    fn visit_i64<E: Error>(self, r: i64) -> Result<f64, E> {
        Ok(r as f64)
    }

    fn visit_u64<E: Error>(self, r: u64) -> Result<f64, E> {
        Ok(r as f64)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<f64, E> {
        match name {
            NAN => Ok(f64::NAN),
            INFINITE => Ok(f64::INFINITY),
            NEGATIVE_INFINITE => Ok(f64::NEG_INFINITY),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }
}
