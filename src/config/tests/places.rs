//! Where faults are, how they look, and that no secret is seen.

use super::{KEY, WATCH, read};
use crate::config::{FAULTS_MAX, Faults};

fn wrong(text: &str) -> Faults {
    match read(text) {
        Ok(_) => panic!("taken for right:\n{text}"),
        Err(faults) => faults,
    }
}

fn told(faults: &Faults) -> Vec<String> {
    let line = |f: &crate::config::Fault| format!("{}:{}: {}", f.line, f.column, f.message);
    faults.iter().map(line).collect()
}

#[test]
fn ten_faults_are_told_at_once_each_in_its_place() {
    let text = "\
[store]
size_max = \"1GiB\"
[log]
level = \"loud\"
[upstreams.tracker]
urll = \"https://tracker.example/api\"
[sources.issues]
upstream = \"traker\"
path = \"issues\"
every = 30
timeout = = \"1s\"
[sources.Bad]
[endpoints.ops]
url = \"https://ops.example\"
secrets = [\"hunter2\"]
events = [\"isues.*\"]
concurrency = 0
rate = { requests = 0, per = \"1s\" }
[metrics]
per_source = \"one\"
";
    // With a syntax error in the file, nothing is called missing: it may stand on the broken line.
    assert_eq!(
        told(&wrong(text)),
        [
            "2:1: `size_max` is not supported yet",
            "4:9: `level` is \"error\" or \"warn\" or \"info\" or \"debug\" or \"trace\", not \
             \"loud\"",
            "6:1: unknown key `urll`, did you mean `url`?",
            "9:8: `path`: \"issues\" does not begin with `/`",
            "10:9: `every` is a duration like \"30s\", not an integer",
            "11:11: extra `=`, expected nothing",
            "12:10: \"Bad\": a name is written with a-z, 0-9 and _, and begins with a letter",
            "15:12: `secrets`: a webhook secret begins with `whsec_` or `whsk_`",
            "17:15: `concurrency` must be 1 to 10000",
            "18:21: `requests` must be 1 to 1000000",
            "20:14: `per_source` is \"auto\" or \"on\" or \"off\", not \"one\", did you mean \
             \"on\"?",
        ]
    );
    let whole = text.replace("timeout = =", "failing_after = 1 #");
    let told = told(&wrong(&whole));
    for absent in [
        "5:12: `url` is missing, write `url = \"https://api.example\"`",
        "8:12: there is no upstream \"traker\", did you mean \"tracker\"?",
        "16:11: \"isues.*\" matches no event type, did you mean \"issues.*\"?",
    ] {
        assert!(
            told.iter().any(|line| line == absent),
            "{absent} not in {told:#?}"
        );
    }
}

#[test]
fn a_fault_looks_like_one_of_a_compiler() {
    let text = "# Umlauts count once: ä\n[log]\nlevel = \"info\" \n  \tlevle = \"ä\"\n";
    assert_eq!(
        wrong(text).to_string(),
        "\
doorbell.toml:4:4: unknown key `levle`, did you mean `level`?
  |
4 |       levle = ***
  |       ^^^^^"
    );
    let two = wrong("a = 1\nb = 2\n").to_string();
    assert_eq!(
        two.matches("\n\ndoorbell.toml:2:1: unknown key `b`")
            .count(),
        1,
        "{two}"
    );
    let coloured = wrong(text).in_colour();
    assert!(
        coloured.contains("\u{1b}[") && coloured.contains("doorbell.toml:4:4"),
        "{coloured}"
    );
}

#[test]
fn the_caret_stands_inside_a_path_where_it_goes_wrong() {
    let text = format!("{WATCH}items = \"$.a[\"\nid = \"$.id\"\nignore = [\"$.a\", \"b\"]\n");
    let faults = wrong(&text);
    let lines: Vec<_> = faults
        .iter()
        .map(|fault| (fault.line, fault.column))
        .collect();
    assert_eq!(lines.len(), 2, "{faults}");
    assert!(
        lines[0].0 == 7 && (11..=14).contains(&lines[0].1),
        "{faults}"
    );
    assert!(
        lines[1].0 == 9 && (19..=20).contains(&lines[1].1),
        "{faults}"
    );
}

#[test]
fn absent_keys_are_told_of_at_the_name_of_their_table() {
    let told = told(&wrong(
        "[upstreams.u]\n[sources.s.guard]\n[endpoints]\ne = {}\n[routes.r]\n",
    ));
    assert_eq!(
        told,
        [
            "1:12: `url` is missing, write `url = \"https://api.example\"`",
            "2:10: `upstream` is missing, write `upstream = \"NAME\"`",
            "2:10: `path` is missing, write `path = \"/…\"`",
            "2:10: `every` is missing, write `every = \"30s\"`",
            "4:1: `url` is missing, write `url = \"https://…\"`",
            "4:1: `secrets` is missing, write `secrets = [{ env = \"…\" }]`",
            "5:9: `path` is missing, write `path = \"/…\"`",
            "5:9: `upstream` is missing, write `upstream = \"NAME\"`",
        ]
    );
}

#[test]
fn all_syntax_errors_are_told_and_what_follows_them_is_still_read() {
    let text = "[log]\nlevel = \"info\nformat \"json\"\n[admin\nlisten = 1\n\
                [store]\nretain = \"7x\"\nretain = \"8d\"\n[proxy]\nlisten = 5\n";
    let faults = wrong(text);
    let lines: Vec<_> = faults.iter().map(|fault| fault.line).collect();
    for line in [2, 3, 4, 7, 8, 10] {
        assert!(
            lines.contains(&line),
            "nothing about line {line}:\n{faults}"
        );
    }
    assert!(faults.to_string().contains("duplicate key"), "{faults}");
}

#[test]
fn no_secret_is_seen_wherever_the_fault_is() {
    let secret = "hunter2secret";
    let key = format!("whsec_{secret}");
    for text in [
        // Wrong types, unknown and unsupported keys, wrong values.
        format!("[admin]\ntoken = \"{secret} {secret}\""),
        format!("[admin]\ntokn = \"{secret}\""),
        format!("[admin]\ntoken = [\"{secret}\"]"),
        format!("[admin]\ntoken = {{ evn = \"{secret}\" }}"),
        format!("admin = \"{secret}\""),
        format!("[store]\nurl = \"postgres://u:{secret}@h/d\""),
        format!("[upstreams.u]\nurl = \"https://user:{secret}@u.example\""),
        format!("[upstreams.u]\nurl = \"https://u.example?key={secret}\""),
        format!("[upstreams.u]\nurl = \"ftp://u.example/{secret}\""),
        format!("[upstreams.u]\negress_proxy = \"http://u:{secret}@h\""),
        format!("[upstreams.u]\nauth = \"{secret}\""),
        format!("[upstreams.u]\nauth = {{ bearer = \"{secret}\", basic = 1 }}"),
        format!("[upstreams.u]\nauth = {{ baerer = \"{secret}\" }}"),
        format!("[upstreams.u]\nauth = {{ oauth2 = {{ client_secret = \"{secret}\" }} }}"),
        format!("[upstreams.u]\nauth = {{ basic = {{ user = \"a:{secret}\", password = 1 }} }}"),
        format!("[upstreams.u]\nauth = {{ header = {{ name = \"x\", value = \"{secret}\\n\" }} }}"),
        format!("[upstreams.u]\nheaders = {{ x = \"{secret}\\u0000\" }}"),
        format!("[upstreams.u]\nheaders = {{ host = \"{secret}\" }}"),
        format!("[upstreams.u]\nheaders = \"{secret}\""),
        format!("[upstreams.u]\nheadres.x = \"{secret}\""),
        format!("[upstreams.Bad]\nauth.bearer = \"{secret}\""),
        format!("[upstreams]\nu = \"{secret}\""),
        format!("upstreams.Bad.auth.bearer = \"{secret}\""),
        format!("[sources.s]\nquery = {{ k = \"{secret}\", l = {{}} }}"),
        format!("[endpoints.e]\nsecrets = [\"{secret}\"]"),
        format!("[endpoints.e]\nsecrets = [\"whsec_x\", \"{secret}\"]"),
        format!("[endpoints.e]\nsecrets = \"{key}\""),
        format!("[endpoints.e]\nurl = \"http://localhost/{secret}\""),
        format!("[endpoints.e]\ntemplate = \"{secret}\""),
        format!("[routes.r]\nauth = {{ keys = [\"{secret} x\"] }}"),
        format!("[routes.r]\nauth = {{ keys = \"{secret}\" }}"),
        format!("[routes.r]\nauth = {{ kyes = [\"{secret}\"] }}"),
        // What does not parse.
        format!("[admin]\ntoken = \"{secret}"),
        format!("[admin]\ntoken = {secret}"),
        format!("[admin]\ntoken \"{secret}\""),
        format!("[admin]\ntoken = \"x\"\ntoken = \"{secret}\""),
        format!("[endpoints.e]\nsecrets = [\n  \"{key}\n]"),
        format!("[endpoints.e]\nsecrets = [\n  {key}\n]"),
        format!("[endpoints.e]\nsecrets = [\n  [\"{key}\"\n]"),
        format!("[endpoints.e]\nsecrets = [\"{key}\" \"{key}\"]"),
        format!("[upstreams.u]\nauth = {{ bearer = {secret} }}"),
        format!("[log]\nlevel = \"info\" token = \"{secret}\""),
        format!("[admin]\ntoken = '''\n{secret}\n{secret}"),
        format!("[admin]\ntoken = \"\\q{secret}\""),
    ] {
        let faults = wrong(&text);
        let all = format!("{faults}\n{}\n{:?}", faults.in_colour(), told(&faults));
        assert!(!all.contains(secret), "{text}\nis told as\n{all}");
    }
}

#[test]
fn a_masked_line_keeps_its_keys_and_its_caret() {
    let faults = wrong(
        "[upstreams.u]\nurl = 'https://u.example'\n\
         auth = { bearer = 'hunter2', basik = { user = 'x' } }",
    );
    let shown = faults.to_string();
    assert!(
        shown.contains("3 | auth = { bearer = ***, basik = { user = *** } }"),
        "{shown}"
    );
    let caret = shown
        .lines()
        .find(|line| line.contains('^'))
        .expect("a caret");
    assert_eq!(caret, "  |                        ^^^^^");
    assert!(shown.contains("doorbell.toml:3:30: unknown key `basik`, did you mean `basic`?"));
}

#[test]
fn a_variable_that_is_missing_is_shown_by_its_name() {
    let shown = wrong("[admin]\ntoken = { env = \"NOPE\" }\n").to_string();
    assert!(shown.contains("2 | token = { env = \"NOPE\" }"), "{shown}");
}

#[test]
fn long_lines_are_cut_around_the_fault() {
    let long = "x".repeat(5_000);
    let text = format!("{WATCH}only = [\"$.{long}\", 5]\n");
    let shown = wrong(&text).to_string();
    assert!(
        shown.lines().all(|line| line.chars().count() < 300),
        "{shown}"
    );
    assert!(
        shown.contains("doorbell.toml:7:5015: `only` is a JSONPath"),
        "{shown}"
    );
}

#[test]
fn beyond_a_hundred_faults_are_counted() {
    let lines = |end: &str| {
        let keys = (0..FAULTS_MAX + 23).map(|n| format!("k{n}{end}"));
        keys.collect::<Vec<_>>().join("\n")
    };
    let faults = wrong(&lines(" = 1"));
    assert_eq!((faults.iter().count(), faults.more()), (FAULTS_MAX, 23));
    assert!(
        faults
            .to_string()
            .ends_with("doorbell.toml: 23 more faults")
    );
    assert_eq!(wrong(&lines(" =")).iter().count(), FAULTS_MAX);
}

#[test]
fn windows_line_ends_change_no_place() {
    let faults = wrong("[log]\r\nlevel = \"loud\"\r\n");
    assert_eq!(
        faults
            .iter()
            .map(|f| (f.line, f.column))
            .collect::<Vec<_>>(),
        [(2, 9)]
    );
    assert!(!faults.to_string().contains('\r'));
}

#[test]
fn nothing_of_a_right_configuration_shows_its_secrets_by_debug() {
    let config = read(&format!(
        "[upstreams.u]\nurl = \"https://u.example\"\nauth = {{ bearer = \"hunter2\" }}\n\
         headers = {{ x-key = \"hunter2\" }}\negress_proxy = \"http://u:hunter2@p.example\"\n\
         [upstreams.t]\nurl = \"https://t.example\"\ntls = {{ cert = \"tests/it/tls/client.pem\", \
         key = \"tests/it/tls/client.key.pem\" }}\nauth = {{ oauth2 = {{ client_id = \"me\", \
         client_secret = \"hunter2\", token_url = \"https://l.example\" }} }}\n[endpoints.e]\nurl = \"https://e.example\"\n\
         secrets = [\"{KEY}\"]\n"
    ));
    let shown = format!("{:?}", config.expect("it is right"));
    assert!(
        !shown.contains("hunter2") && !shown.contains(KEY) && !shown.contains("PRIVATE"),
        "{shown}"
    );
    assert!(shown.contains("elided"), "the client's key: {shown}");
}
