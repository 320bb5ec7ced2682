//! What divides a source.

use super::*;

fn divided(each: &str) -> String {
    format!(
        "[upstreams.u]\nurl = \"https://u.example\"\n\
         [sources.repos]\nupstream = \"u\"\npath = \"/repos\"\nevery = \"1h\"\n\
         items = \"$[*]\"\nid = \"$.id\"\n\
         [sources.issues]\nupstream = \"u\"\npath = \"/{{{{a}}}}/{{{{b}}}}\"\nevery = \"1m\"\n\
         each = {each}\n"
    )
}

fn each_of(config: &Config) -> &Each {
    config.sources["issues"].each.as_ref().expect("is divided")
}

#[test]
fn values_are_listed_in_the_file_or_in_one_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = "# repositories\n\n  x/y  \r\nz\nz\n";
    std::fs::write(folder.path().join("repos.txt"), list).expect("writes");
    let text = divided("{ a = { file = \"repos.txt\" }, b = [\"p\", 7, true] }");
    let config = parse(&text, &folder.path().join("doorbell.toml"), &|_| None);
    let config = config.unwrap_or_else(|faults| panic!("{faults}"));
    let listed = &each_of(&config).listed;
    assert_eq!(*listed["a"], ["x/y".into(), "z".into()]);
    assert_eq!(*listed["b"], ["p".into(), "7".into(), "true".into()]);
    assert!(
        config.warnings[0].contains("values of `a` are given twice, 1 make"),
        "{:?}",
        config.warnings
    );
    let said = explain(&config, Timestamp::default());
    let expected = "every 1m, 360 requests an hour for each a (2) and each b (3)";
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("polled 361 requests an hour"), "{said}");

    std::fs::write(folder.path().join("repos.txt"), "x\ny\u{7}\n").expect("writes");
    let faults = parse(&text, &folder.path().join("doorbell.toml"), &|_| None);
    let faults = faults.expect_err("a bell").to_string();
    assert!(
        faults.contains("line 2 of the file of `a`: a value holds a control"),
        "{faults}"
    );
    std::fs::write(folder.path().join("repos.txt"), "# none\n").expect("writes");
    let config = parse(&text, &folder.path().join("doorbell.toml"), &|_| None);
    let warnings = config.expect("legal, but odd").warnings;
    assert!(warnings[0].contains("nothing is polled"), "{warnings:?}");
}

#[test]
fn values_are_items_of_another_source_which_is_not_divided_by_this_one() {
    let follow = |name: &str| format!("{{ source = \"repos\", at = \"$.{name}\" }}");
    let text = divided(&format!("{{ a = {}, b = {} }}", follow("x"), follow("y")));
    let config = right(&text);
    let names = &each_of(&config).followed["repos"];
    assert_eq!((names["a"].as_str(), names["b"].as_str()), ("$.x", "$.y"));
    let said = explain(&config, Timestamp::default());
    assert!(
        said.contains("for each a and b of the items of repos"),
        "{said}"
    );

    let around = text.replace(
        "[sources.issues]",
        "each = { c = { source = \"issues\", at = \"$.id\" } }\n[sources.issues]",
    );
    let around = around.replace("\"/repos\"", "\"/repos/{{c}}\"");
    let around = around + "items = \"$[*]\"\nid = \"$.id\"\n";
    let faults = read(&around).expect_err("a circle").to_string();
    assert!(
        faults.contains("divided by itself, through \"issues\""),
        "{faults}"
    );

    for (kept, said) in [
        ("keep = \"digests\"", "has no items that are kept"),
        ("", "has no items that are kept"),
    ] {
        let mut thin = text.replace("id = \"$.id\"\n", &format!("id = \"$.id\"\n{kept}\n"));
        if kept.is_empty() {
            thin = text.replace("items = \"$[*]\"\nid = \"$.id\"\n", "");
        }
        let faults = read(&thin).expect_err("no bodies").to_string();
        assert!(faults.contains(said), "{faults}");
    }
}

#[test]
fn too_many_partitions_are_refused() {
    let values = |count| vec!["\"x\""; count].join(", ");
    let numbers = |count: usize| {
        (0..count)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(",")
    };
    let text = divided(&format!(
        "{{ a = [{}], b = [{}] }}",
        numbers(500),
        numbers(500)
    ));
    let faults = read(&text).expect_err("250,000").to_string();
    assert!(
        faults.contains("`each` makes 250000 partitions, at most 200000"),
        "{faults}"
    );
    // The same value again is no other partition.
    let text = divided(&format!(
        "{{ a = [{}], b = [{}] }}",
        values(500),
        values(500)
    ));
    assert_eq!(right(&text.replace("[warn", "")).sources.len(), 2);
}
