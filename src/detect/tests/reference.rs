//! The canonical form, obvious and naive, over a `Value`; and JSON to try it on, in many
//! spellings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::Value;
use serde_json_path::NormalizedPath;

use super::super::{Fields, Path, Rules};

/// A JSON value apart from its spelling.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Model {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    /// Mantissa and power of ten; both small, so that `serde_json` reads them exactly.
    Decimal(i32, i32),
    Text(String),
    List(Vec<Model>),
    Object(BTreeMap<String, Model>),
}

/// Names that paths name too.
pub(super) const NAMES: [&str; 6] = ["a", "b", "c", "é", "x\"y", "longer_than_eight"];

pub(crate) fn models() -> impl Strategy<Value = Model> {
    let leaf = prop_oneof![
        Just(Model::Null),
        any::<bool>().prop_map(Model::Bool),
        (-3..4_i64).prop_map(Model::Signed),
        any::<i64>().prop_map(Model::Signed),
        any::<u64>().prop_map(Model::Unsigned),
        (-99_999_999..99_999_999, -6..6).prop_map(|(m, e)| Model::Decimal(m, e)),
        any::<String>().prop_map(Model::Text),
        "[ab\"\\\\\n\u{1}/é😀]{0,12}".prop_map(Model::Text),
    ];
    let name = prop_oneof![
        4 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "longer_than_[a-c]{0,3}",
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Model::List),
            prop::collection::btree_map(name.clone(), inner, 0..6).prop_map(Model::Object),
        ]
    })
}

impl Model {
    /// One of its many spellings.
    pub(crate) fn spelling(&self, seed: u64) -> String {
        let mut out = String::new();
        self.spell(&mut fastrand::Rng::with_seed(seed), &mut out);
        out
    }

    fn spell(&self, rng: &mut fastrand::Rng, out: &mut String) {
        let blank = |rng: &mut fastrand::Rng, out: &mut String| {
            out.push_str(rng.choice(["", "", "", " ", "\n\t", "\r\n  "]).unwrap());
        };
        blank(rng, out);
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(&value.to_string()),
            Self::Signed(value) => spell_integer(&value.to_string(), rng, out),
            Self::Unsigned(value) => spell_integer(&value.to_string(), rng, out),
            Self::Decimal(mantissa, exponent) => spell_decimal(*mantissa, *exponent, rng, out),
            Self::Text(text) => spell_text(text, rng, out),
            Self::List(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    element.spell(rng, out);
                }
                blank(rng, out);
                out.push(']');
            }
            Self::Object(members) => {
                let mut members: Vec<(&String, &Self)> = members.iter().collect();
                // Of equal names the last counts, so others may come before it.
                let hidden = Self::List(vec![Self::Null]);
                if let Some(&(name, _)) = rng.choice(&members).filter(|_| rng.u8(..) < 30) {
                    members.push((name, &hidden));
                }
                let hides = |pair: &(&String, &Self)| *pair.1 == hidden;
                rng.shuffle(&mut members);
                members.sort_by_key(|pair| !hides(pair));
                out.push('{');
                for (index, (name, member)) in members.into_iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    blank(rng, out);
                    spell_text(name, rng, out);
                    blank(rng, out);
                    out.push(':');
                    member.spell(rng, out);
                }
                blank(rng, out);
                out.push('}');
            }
        }
        blank(rng, out);
    }

    /// Replaces the leaf (or empty container) number `index`, in order, by something else.
    pub(super) fn with_leaf_changed(&self, index: &mut usize) -> Self {
        match self {
            Self::List(elements) if !elements.is_empty() => {
                let changed = elements.iter().map(|e| e.with_leaf_changed(index));
                Self::List(changed.collect())
            }
            Self::Object(members) if !members.is_empty() => {
                let changed = members.iter();
                let changed = changed.map(|(n, m)| (n.clone(), m.with_leaf_changed(index)));
                Self::Object(changed.collect())
            }
            leaf => {
                let is_hit = *index == 0;
                *index = index.wrapping_sub(1);
                match leaf {
                    _ if !is_hit => leaf.clone(),
                    Self::Text(text) => Self::Text(format!("{text}.")),
                    Self::Signed(number) => Self::Signed(number ^ 1),
                    Self::Unsigned(number) => Self::Unsigned(number ^ 1),
                    Self::Decimal(mantissa, exponent) => Self::Decimal(mantissa + 1, *exponent),
                    Self::Null => Self::Bool(false),
                    _ => Self::Null,
                }
            }
        }
    }

    pub(super) fn leaves(&self) -> usize {
        match self {
            Self::List(elements) => elements.iter().map(Self::leaves).sum::<usize>().max(1),
            Self::Object(members) => members.values().map(Self::leaves).sum::<usize>().max(1),
            _ => 1,
        }
    }
}

fn spell_integer(digits: &str, rng: &mut fastrand::Rng, out: &mut String) {
    out.push_str(digits);
    // Beyond 2^53 the reference, which reads doubles, would not see what this says.
    if digits.len() < 15 {
        out.push_str(rng.choice(["", "", ".0", "e0", "E+0", ".00e00"]).unwrap());
    }
}

fn spell_decimal(mantissa: i32, exponent: i32, rng: &mut fastrand::Rng, out: &mut String) {
    let zeros = rng.usize(..3);
    let exponent = exponent - i32::try_from(zeros).unwrap();
    let mark = if rng.bool() { 'e' } else { 'E' };
    let zeros = if mantissa == 0 { "" } else { &"00"[..zeros] };
    write!(out, "{mantissa}{zeros}{mark}{exponent}").unwrap();
}

fn spell_text(text: &str, rng: &mut fastrand::Rng, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' | '/' if rng.bool() => out.extend(['\\', char]),
            '\n' if rng.bool() => out.push_str("\\n"),
            '"' | '\\' | '\0'..='\u{1f}' => write!(out, "\\u{:04x}", char as u32).unwrap(),
            _ if rng.u8(..) < 40 => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04X}").unwrap();
                }
            }
            _ => out.push(char),
        }
    }
    out.push('"');
}

/// The canonical form of a document under `rules`: places are JSON pointers, found by asking
/// `serde_json_path` of the whole document.
pub(super) fn form(text: &str, rules: &Rules) -> String {
    let root: Value = serde_json::from_str(text).unwrap();
    let places = |paths: &[Path]| {
        let mut places = BTreeSet::new();
        for path in paths {
            let path = serde_json_path::JsonPath::parse(path.as_str()).unwrap();
            let nodes = path.query_located(&root);
            places.extend(nodes.locations().map(NormalizedPath::to_json_pointer));
        }
        places
    };
    let (keeps, listed) = match &rules.fields {
        Fields::Ignore(paths) => (true, places(paths)),
        Fields::Only(paths) => (false, places(paths)),
    };
    let naive = Naive {
        keeps,
        listed,
        unordered: places(&rules.unordered),
    };
    let form = naive.form(&root, "", keeps);
    form.unwrap_or_else(|| "null".to_owned())
}

struct Naive {
    keeps: bool,
    listed: BTreeSet<String>,
    unordered: BTreeSet<String>,
}

impl Naive {
    fn form(&self, value: &Value, place: &str, counts: bool) -> Option<String> {
        let counts = counts != (self.listed.contains(place) && counts == self.keeps);
        let (open, parts, close) = match value {
            Value::Array(elements) => {
                let parts = elements.iter().enumerate();
                let parts = parts.map(|(i, e)| self.form(e, &format!("{place}/{i}"), counts));
                let mut parts: Vec<String> = parts.flatten().collect();
                if self.unordered.contains(place) {
                    parts.sort();
                }
                ('[', parts, ']')
            }
            Value::Object(members) => {
                let mut parts = BTreeMap::new();
                for (name, member) in members {
                    let step = name.replace('~', "~0").replace('/', "~1");
                    if let Some(form) = self.form(member, &format!("{place}/{step}"), counts) {
                        let name = serde_json::to_string(name).unwrap();
                        parts.insert(name[1..name.len() - 1].to_owned(), format!("{name}:{form}"));
                    }
                }
                ('{', parts.into_values().collect(), '}')
            }
            Value::Number(number) => return counts.then(|| spell_number(number)),
            other => return counts.then(|| other.to_string()),
        };
        (counts || !parts.is_empty()).then(|| format!("{open}{}{close}", parts.join(",")))
    }
}

fn spell_number(number: &serde_json::Number) -> String {
    if !number.is_f64() {
        return number.to_string();
    }
    // Shortest digits, as `-1.25e-7`.
    let text = format!("{:e}", number.as_f64().unwrap());
    let (mantissa, exponent) = text.split_once('e').unwrap();
    let fraction = mantissa
        .split_once('.')
        .map_or("", |(_, fraction)| fraction);
    let exponent = exponent.parse::<i64>().unwrap() - i64::try_from(fraction.len()).unwrap();
    let digits = mantissa.replace('.', "");
    match exponent {
        _ if digits == "0" || digits == "-0" => "0".to_owned(),
        0.. => digits + &"0".repeat(usize::try_from(exponent).unwrap()),
        _ => format!("{digits}e{exponent}"),
    }
}
