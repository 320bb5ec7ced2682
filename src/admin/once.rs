//! JSON whose objects name each member once: of two values one would be silently ignored.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Most characters of a member's name that a message quotes.
const SHOWN_CHARS_MAX: usize = 60;

/// See the [module](self).
pub(super) struct Once(pub(super) Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Once, E> {
        Ok(Once(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Once, E> {
        Ok(Once(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Once, E> {
        Ok(Once(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Once, E> {
        Ok(Once(Value::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Once, E> {
        let number = Number::from_f64(value);
        Ok(Once(number.map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Once, E> {
        Ok(Once(Value::from(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Once, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(element)) = elements.next_element()? {
            list.push(element);
        }
        Ok(Once(Value::Array(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Once, A::Error> {
        let mut map = Map::new();
        while let Some((name, Once(value))) = members.next_entry::<String, Once>()? {
            if map.contains_key(&name) {
                let shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
                return Err(A::Error::custom(format!("{shown:?} is given twice")));
            }
            map.insert(name, value);
        }
        Ok(Once(Value::Object(map)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_once_is_read_as_ever_and_what_is_said_twice_is_refused() {
        for text in [
            r#"{"a": [1, -2, 3.5, true, null, "x"], "b": {"a": {}}}"#,
            "18446744073709551615",
            r#""\u0000""#,
        ] {
            let Once(read) = serde_json::from_str(text).expect("it is right");
            let expected: Value = serde_json::from_str(text).expect("it is JSON");
            assert_eq!(read, expected);
        }
        for text in [
            r#"{"a": 1, "a": 1}"#,
            r#"[{"b": {"a": 1, "c": 2, "a": 3}}]"#,
        ] {
            let told = serde_json::from_str::<Once>(text)
                .map(|_| ())
                .expect_err("twice");
            assert!(
                told.to_string().starts_with("\"a\" is given twice"),
                "{told}"
            );
        }
    }
}
