//! Endpoints that did not come with the file: what a caller of the admin API wrote as JSON.
//!
//! Decides nothing about endpoints: the JSON is written down as TOML, so that the readers of the
//! file read it and find the same faults, and every place of it is remembered as a JSON pointer,
//! so that a fault names its member.

use serde_json::{Map, Value};
use toml::de::DeTable;

use crate::name::Name;

use super::declared::Declared;
use super::endpoint::{self, ENDPOINT};
use super::fault::{Note, Span};
use super::reader::{Author, Context};
use super::words::shown;
use super::{Config, Endpoint};

/// Most bytes of a pointer: enough to find the member, whatever its name. Each element has one.
const POINTER_BYTES_MAX: usize = 200;

/// What such endpoints are read beside: sources that they may hear, networks that they may reach.
#[derive(Debug)]
pub struct Beside<'a> {
    config: &'a Config,
    declared: Declared<'a>,
}

/// What is wrong with a member, or legal but odd.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MemberFault {
    /// Which member, as a JSON pointer (RFC 6901); empty: all of it.
    pub pointer: String,
    /// What is wrong and what to write instead. Quotes no secret.
    pub detail: String,
}

impl MemberFault {
    /// A fault of the member that `pointer` names.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

impl<'a> Beside<'a> {
    /// Looks around in `config`.
    #[must_use]
    pub fn new(config: &'a Config) -> Self {
        Self {
            config,
            declared: Declared::of(config),
        }
    }

    /// Reads an endpoint whose keys are `members`, its secrets among them; and what is odd in it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn endpoint(
        &self,
        name: &Name,
        members: &Map<String, Value>,
        author: Author,
    ) -> Result<(Endpoint, Vec<MemberFault>), Vec<MemberFault>> {
        let mut written = Written::default();
        written.document(members);
        let (tree, errors) = DeTable::parse_recoverable(&written.text);
        if !errors.is_empty() {
            // All else that JSON can say, TOML can.
            return Err(vec![MemberFault::new("", "it is nested too deeply")]);
        }
        let context = Context::beside_the_file(&written.text, author);
        for place in &written.nulls {
            let message = "null says nothing, leave it out";
            context.fault(place.clone(), message);
        }
        let table = context.root(tree.get_ref(), &ENDPOINT);
        let endpoint = endpoint::endpoint(name, &table, &self.declared, &self.config.admin);
        let found = context.into_found();
        match endpoint.filter(|_| found.faults.is_empty()) {
            Some(endpoint) => Ok((endpoint, written.told(found.warnings))),
            None => Err(written.told(found.faults)),
        }
    }
}

/// JSON as TOML.
#[derive(Default)]
struct Written {
    text: String,
    /// Where each member stands, with its key, and each element.
    places: Vec<(Span, String)>,
    /// Where nulls would stand, which TOML has not.
    nulls: Vec<Span>,
}

impl Written {
    fn document(&mut self, members: &Map<String, Value>) {
        // So that no member begins where a table without a key is at home.
        self.text.push('\n');
        for (key, value) in members {
            self.member("", key, value);
            self.text.push('\n');
        }
    }

    fn member(&mut self, above: &str, key: &str, value: &Value) {
        let token = key.replace('~', "~0").replace('/', "~1");
        let pointer = cut(format!("{above}/{token}"));
        self.place(&pointer, |written| {
            if value.is_null() {
                written.null();
                return;
            }
            written.string(key);
            written.text.push_str(" = ");
            written.value(&pointer, value);
        });
    }

    fn value(&mut self, pointer: &str, value: &Value) {
        match value {
            // Those of members and elements are not written.
            Value::Null => {}
            Value::Bool(bool) => self.text.push_str(if *bool { "true" } else { "false" }),
            Value::Number(number) => self.text.push_str(&number.to_string()),
            Value::String(text) => self.string(text),
            Value::Array(elements) => {
                self.text.push('[');
                for (index, element) in elements.iter().enumerate() {
                    let pointer = cut(format!("{pointer}/{index}"));
                    self.place(&pointer, |written| {
                        if element.is_null() {
                            written.null();
                            return;
                        }
                        written.value(&pointer, element);
                        written.text.push(',');
                    });
                }
                self.text.push(']');
            }
            Value::Object(members) => {
                self.text.push('{');
                let said = members.iter().filter(|(_, value)| !value.is_null());
                for (index, (key, value)) in said.enumerate() {
                    self.text.push_str(if index == 0 { "" } else { ", " });
                    self.member(pointer, key, value);
                }
                for (key, _) in members.iter().filter(|(_, value)| value.is_null()) {
                    self.member(pointer, key, &Value::Null);
                }
                self.text.push('}');
            }
        }
    }

    /// A space in the place of a null, so that it has one.
    fn null(&mut self) {
        let at = self.text.len();
        self.text.push(' ');
        self.nulls.push(at..at + 1);
    }

    /// JSON's escapes are TOML's, which besides knows one more control character.
    fn string(&mut self, text: &str) {
        let quoted = Value::from(text).to_string();
        self.text.push_str(&quoted.replace('\u{7f}', "\\u007f"));
    }

    fn place(&mut self, pointer: &str, write: impl FnOnce(&mut Self)) {
        let start = self.text.len();
        write(self);
        let end = self.text.len();
        self.places.push((start..end, pointer.to_owned()));
    }

    /// Notes about places of the text as faults of members.
    fn told(&self, notes: Vec<Note>) -> Vec<MemberFault> {
        let mut told: Vec<MemberFault> = Vec::new();
        for note in notes {
            let pointer = cut(shown(self.pointer(note.span.start)));
            let fault = MemberFault::new(pointer, note.message);
            if !told.contains(&fault) {
                told.push(fault);
            }
        }
        told
    }

    /// The innermost member or element that stands at `offset`.
    fn pointer(&self, offset: usize) -> &str {
        let holding = self
            .places
            .iter()
            .filter(|(span, _)| span.contains(&offset));
        let innermost = holding.min_by_key(|(span, _)| span.len());
        innermost.map_or("", |(_, pointer)| pointer)
    }
}

fn cut(mut pointer: String) -> String {
    pointer.truncate(pointer.floor_char_boundary(POINTER_BYTES_MAX));
    pointer.shrink_to_fit();
    pointer
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    const SECRET: &str = "whsec_c2hvd24gbm93aGVyZSBzaG93biBub3doZXJl";

    fn config(admin: &str) -> Config {
        let text = format!(
            "[admin]\n{admin}\n[upstreams.u]\nurl = \"https://u.example\"\n[sources.issues]\n\
             upstream = \"u\"\npath = \"/\"\nevery = \"30s\"\nitems = \"$[*]\"\nid = \"$.id\"\n"
        );
        super::super::parse(&text, Path::new("doorbell.toml"), &|_| {
            Some(SECRET.to_owned())
        })
        .expect("a right file")
    }

    type Read = Result<(Endpoint, Vec<MemberFault>), Vec<MemberFault>>;

    fn read_as(author: Author, admin: &str, members: &Value) -> Read {
        let config = config(admin);
        let mut members = members.as_object().expect("an object").clone();
        let secrets = json!([SECRET]);
        members.entry("secrets").or_insert(secrets);
        let name = Name::parse("crm").expect("a name");
        Beside::new(&config).endpoint(&name, &members, author)
    }

    fn read(members: &Value) -> Read {
        read_as(Author::Caller, "", members)
    }

    /// Its only fault.
    fn refused(members: &Value) -> (String, String) {
        let mut faults = read(members).expect_err("it is wrong");
        assert_eq!(faults.len(), 1, "{members}: {faults:?}");
        let fault = faults.remove(0);
        (fault.pointer, fault.detail)
    }

    #[test]
    fn what_the_file_may_say_a_caller_may_say_in_json() {
        let members = json!({
            "url": "https://crm.example/hook?token=\u{7f}\"\\\n",
            "events": ["issues.*", "doorbell.*"],
            "rate": {"requests": 10, "per": "1s"},
            "headers": {"x-team": "sales"},
            "retry": ["5s"],
            "concurrency": 3,
            "format": "template",
            "template": "{{ type }}\u{1}",
        });
        let wrong = read(&members).expect_err("control characters have no place in a URL");
        assert_eq!(wrong[0].pointer, "/url", "{wrong:?}");
        let mut members = members;
        members["url"] = json!("https://crm.example/hook?a=ü");
        let (endpoint, warnings) = read(&members).expect("it is right");
        assert_eq!(warnings, []);
        assert_eq!(endpoint.owner, super::super::Owner::Api);
        assert_eq!((endpoint.concurrency, endpoint.retry.len()), (3, 1));
        assert!(endpoint.hears("issues.created") && !endpoint.allow_private);
        assert_eq!(endpoint.headers["x-team"], "sales");
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of what may be wrong")]
    fn a_fault_names_its_member_and_says_what_to_write() {
        let url = "https://crm.example/";
        for (members, pointer, words) in [
            (json!({}), "", "write `\"url\": \"https://…\"`"),
            (json!({"url": "crm"}), "/url", "is no URL"),
            (
                json!({"url": 7}),
                "/url",
                "`url` is a string, not an integer",
            ),
            (
                json!({"url": url, "event": []}),
                "/event",
                "did you mean `events`?",
            ),
            (
                json!({"url": url, "events": ["x.*"]}),
                "/events/0",
                "no event type",
            ),
            (
                json!({"url": url, "events": ["issues.*", 1]}),
                "/events/1",
                "a glob",
            ),
            (
                json!({"url": url, "rate": {"requests": 1}}),
                "/rate",
                "`\"per\": \"1s\"`",
            ),
            (
                json!({"url": url, "rate": {"requests": 0, "per": "1s"}}),
                "/rate/requests",
                "must be 1 to",
            ),
            (json!({"url": url, "a/b~": 1}), "/a~1b~0", "unknown key"),
            (
                json!({"url": url, "timeout": null}),
                "/timeout",
                "leave it out",
            ),
            (
                json!({"url": url, "events": [null, "issues.*"]}),
                "/events/0",
                "leave it out",
            ),
            (
                json!({"url": url, "rate": {"per": "1s", "requests": 1, "x": null}}),
                "/rate/x",
                "leave it out",
            ),
            (
                json!({"url": url, "filter": "$[?@.data.x =]"}),
                "/filter",
                "`filter`",
            ),
            (
                json!({"url": url, "allow_private": true}),
                "/allow_private",
                "`allow_networks`",
            ),
            (
                json!({"url": url, "allow_private": false}),
                "/allow_private",
                "`allow_networks`",
            ),
            (
                json!({"url": url, "secrets": ["whsec_short"]}),
                "/secrets/0",
                "is base64",
            ),
        ] {
            let (at, told) = refused(&members);
            assert_eq!(at, pointer, "{members}: {told}");
            assert!(told.contains(words), "{members}: {told}");
        }
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        let (at, told) = refused(&json!({"url": url, "events": deep}));
        assert_eq!(
            (at.as_str(), told.as_str()),
            ("", "it is nested too deeply")
        );
    }

    /// The environment would answer, and the file is there.
    #[test]
    fn no_caller_reads_the_environment_or_a_file() {
        let url = "https://crm.example/";
        for elsewhere in [json!({"env": "HOME"}), json!({"file": "/etc/hostname"})] {
            for (pointer, members) in [
                ("/url", json!({"url": elsewhere})),
                ("/secrets/0", json!({"url": url, "secrets": [elsewhere]})),
                (
                    "/headers/x-a",
                    json!({"url": url, "headers": {"x-a": elsewhere}}),
                ),
            ] {
                let (at, told) = refused(&members);
                assert_eq!(at, pointer);
                assert!(
                    told.contains("only read in the configuration file"),
                    "{told}"
                );
            }
        }
    }

    #[test]
    fn private_addresses_are_refused_but_for_the_allowed_networks() {
        let at = |url: &str| json!({"url": url});
        let allowed = "allow_networks = [\"10.0.0.0/8\", \"::1/128\"]";
        for (url, without, within) in [
            ("https://crm.example/", true, true),
            ("https://10.1.2.3/", false, true),
            ("https://[::ffff:10.1.2.3]/", false, true),
            ("https://192.168.0.1/", false, false),
            ("https://localhost/", false, true),
            ("https://127.0.0.1/", false, false),
            ("https://[::1]/", false, true),
        ] {
            let is_right = |admin| read_as(Author::Caller, admin, &at(url)).is_ok();
            assert_eq!(
                (is_right(""), is_right(allowed)),
                (without, within),
                "{url}"
            );
        }
        let (_, told) = refused(&at("https://10.1.2.3/"));
        assert_eq!(told, super::super::NO_NETWORK);
    }

    #[test]
    fn what_is_said_of_a_file_says_where_they_may_point() {
        use super::super::explain;
        use crate::time::Timestamp;

        let said = |config: &Config| explain(config, Timestamp::from_millis(0));
        let line = "(made over the API: public addresses and 10.0.0.0/8, fd00::/8)";
        let some = config("allow_networks = [\"10.0.0.0/8\", \"fd00::/8\"]");
        assert!(said(&some).contains(line), "{}", said(&some));
        assert!(!said(&config("")).contains("over the API"));
        assert_eq!(some.warnings, Vec::<String>::new());
        let all = config("allow_networks = [\"0.0.0.0/0\"]");
        assert!(
            all.warnings[0].contains("metadata service"),
            "{:?}",
            all.warnings
        );
    }

    /// It was right when it was made.
    #[test]
    fn what_was_kept_is_read_although_its_sources_and_networks_have_gone() {
        let members = json!({"url": "https://10.0.0.1/", "events": ["gone.*"]});
        let (endpoint, odd) = read_as(Author::Store, "", &members).expect("it was right once");
        assert!(endpoint.hears("gone.created"));
        let pointers: Vec<_> = odd.iter().map(|odd| odd.pointer.as_str()).collect();
        assert_eq!(pointers, ["/url", "/events/0"]);
    }

    #[test]
    fn no_fault_quotes_a_secret() {
        let telling = "whsec_dGVsbGluZw-telling";
        for members in [
            json!({"url": "https://u:telling@crm.example/"}),
            json!({"url": "telling telling"}),
            json!({"url": "https://crm.example/", "secrets": [telling]}),
            json!({"url": "https://crm.example/", "secrets": telling}),
            json!({"url": "https://crm.example/", "headers": {"x-a": "telling\n"}}),
            json!({"url": "https://crm.example/", "template": "{{ telling"}),
            json!({"url": "https://crm.example/", "secret": telling}),
        ] {
            let faults = read(&members).expect_err("it is wrong");
            assert!(!format!("{faults:?}").contains("telling"), "{faults:?}");
        }
    }

    /// Each element has its pointer, and each pointer has the names above it.
    #[test]
    fn a_long_name_is_not_written_once_for_each_element_below_it() {
        let members = json!({"k".repeat(30_000): vec![1; 15_000]});
        let mut written = Written::default();
        written.document(members.as_object().expect("an object"));
        let bytes = written.places.iter().map(|(_, pointer)| pointer.len());
        assert!(bytes.sum::<usize>() <= 15_001 * POINTER_BYTES_MAX);
        let refused = refused(&json!({"url": "https://crm.example/", "k".repeat(30_000): 1}));
        assert!(refused.0.starts_with("/kkk") && refused.0.len() <= POINTER_BYTES_MAX);
    }
}
