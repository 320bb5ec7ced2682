//! What is wrong with JSON that is none of the source's: shapes, ids, too many.

use super::Row;
use super::Then::{Fails, Passes};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = shapes();
    rows.extend(ids());
    rows
}

fn shapes() -> Vec<Row> {
    let shape = |what: &str, body: &str| Row::json(what, Fails("shape"), body);
    let made = |what: &str, then, make: fn(&str) -> String| Row::list(what, then, make);
    vec![
        shape("null", "null"),
        shape("true", "true"),
        shape("a number", "0"),
        shape("a string", "\"\""),
        shape("an object of nothing", "{}"),
        shape(
            "an error with 200",
            r#"{"error":{"code":500,"message":"try again"}}"#,
        ),
        made("a list in an envelope", Fails("shape"), |list| {
            format!(r#"{{"data":{list}}}"#)
        }),
        made("a list as text", Fails("shape"), |list| {
            serde_json::to_string(list).expect("text is JSON")
        }),
        made("items by id", Fails("shape"), |list| {
            list.replace("{\"id\":", "\"1\":{\"id\":")
                .replace('[', "{")
                .replace(']', "}")
                .replace("{\"a\",\"b\"}", "1")
        }),
        made("a list of lists", Fails("id"), |list| format!("[{list}]")),
        made("a null among items", Fails("id"), |list| {
            list.replacen('[', "[null,", 1)
        }),
        shape_of_ids("a list of ids", "[1,2,3]"),
        shape_of_ids("a list of texts", r#"["1","2"]"#),
        made("every item twice", Passes, |list| {
            let items = &list[1..list.len() - 1];
            format!("[{items},{items}]")
        }),
        Row::list("items without end", Fails("items_max"), |_| {
            let items: Vec<String> = (0..5_000).map(|id| format!("{{\"id\":{id}}}")).collect();
            format!("[{}]", items.join(","))
        }),
    ]
}

fn shape_of_ids(what: &str, body: &str) -> Row {
    Row::json(what, Fails("id"), body)
}

fn ids() -> Vec<Row> {
    let first = |what: &str, id: &'static str| {
        Row::list(what, Fails("id"), move |list| with_first_id(list, id))
    };
    vec![
        Row::list("an item without id", Fails("id"), |list| {
            list.replacen("\"id\":", "\"no\":", 1)
        }),
        Row::list("items without ids", Fails("id"), |list| {
            list.replace("\"id\":", "\"no\":")
        }),
        Row::list("an item of nothing", Fails("id"), |list| {
            list.replacen('[', "[{},", 1)
        }),
        Row::list("a number and the same as text", Fails("id"), |list| {
            list.replacen('[', r#"[{"id":"1"},"#, 1)
        }),
        first("an id of null", "null"),
        first("an id of true", "true"),
        first("an id that is an object", r#"{"$oid":"1"}"#),
        first("an id that is a list", "[1]"),
        first("an id of a half", "1.5"),
        first("an id of 1e400", "1e400"),
        first("an id of a hundred digits", LONG),
        Row::list("an id of a page of text", Fails("id"), |list| {
            with_first_id(list, &format!("\"{}\"", "x".repeat(5_000)))
        }),
    ]
}

const LONG: &str = "1234567890123456789012345678901234567890123456789012345678901234567890\
                    123456789012345678901234567890";

/// The list with another id for its first item.
fn with_first_id(list: &str, id: &str) -> String {
    let (before, after) = list.split_once("\"id\":").expect("an item");
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}\"id\":{id}{rest}")
}
