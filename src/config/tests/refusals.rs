//! What is refused, and what is said then.
//!
//! A case is a line `TOML => WORDS`: the file has one fault, whose message has these words. In the
//! TOML, ` ;; ` ends a line.

use std::fmt::Write as _;

use super::super::{endpoint, reader::Keys, route, source, upstream};
use super::{KEY, read};

/// Whole files.
const SERVICE: &str = r#"
[log] ;; format = "xml" => `format` is "text" or "json", not "xml"
[store] ;; url = "postgres://h/d" => is not supported yet
[store] ;; url = "sqlite://d.db" => without `//`
[store] ;; url = "sqlite::memory:" => where PATH is a file
[store] ;; url = { env = "NOPE" } => the environment has no variable `NOPE`
[store] ;; url = { file = "/no/such" } => `/no/such` cannot be read
[store] ;; url = {} => { env = "NAME" } or { file = "PATH" }
[store] ;; url = 7 => { file = "PATH" }, not an integer
[store] ;; retain = "1M" => "1M" is vague
[store] ;; retain = "2 years" => write days like "30d"
[store] ;; retain = "7" => "7" is no duration
[store] ;; retain = "11y" => is vague
[store] ;; retain = "500ms" => `retain` must be 1s to 3650d
[store] ;; retain_dead = "18446744073709551615s 1000ms" => is no duration
[store] ;; size_max = "1GiB" => `size_max` is not supported yet
[admin] ;; listen = "localhost:9090" => write an IP address and a port
[admin] ;; listen = "0.0.0.0:9090" => add `token = { env = "…" }`
[admin] ;; metrics_token = true => wants a token
[admin] ;; token = "two words" => `token` holds spaces
[admin] ;; token = { env = "EMPTY" } => `token` is empty
[admin] ;; hosts = ["a.example:80"] => without scheme and port
[admin] ;; public_url = "bell.example" => is no URL
[admin] ;; public_url = "https://bell.example/?a" => holds no `?`
[admin] ;; allow_networks = ["10.0.0.0/33"] => "10.0.0.0/33" is no network
[admin] ;; allow_networks = "10.0.0.0/8" => `allow_networks` is a list of networks, not a string
[admin] ;; hosts = "a" => `hosts` is a list of hosts, not a string
[proxy] ;; connections_max = 1 => `listen` is missing
[proxy] ;; listen = [] => `listen` is empty
[proxy] ;; listen = ["127.0.0.1:9090"] => 127.0.0.1:9090 is listened on twice
[proxy] ;; listen = ["[::1]:1", "[::1]:1"] => [::1]:1 is listened on twice
[proxy] ;; listen = ["127.0.0.1:1"] ;; trusted_proxies = ["10.0.0.0/40"] => is no network
[proxy] ;; listen = ["127.0.0.1:1"] ;; connections_max = 0 => `connections_max` must be 1 to 500000
[proxy] ;; listen = ["[::1]:1"] ;; drain_delay = "11m" ;; grace = "1h" => must be 0s to 10m
[proxy] ;; listen = ["127.0.0.1:1"] ;; grace = "1s" => `drain_delay` is a part of `grace`
[metrics] ;; per_source = true => `per_source` is "auto" or "on" or "off", not a boolean
[metrics] ;; per_sources = "on" => did you mean `per_source`?
source = {} => unknown key `source`, did you mean `sources`?
[[sources]] => `sources` is a table, not an array
"#;

/// In `[upstreams.u]`.
const UPSTREAM: &str = r#"
url = "u.example" => is no URL
url = "ftp://u.example" => begins with "https://"
url = "https:u.example" => begins with "https://"
url = "https:///u.example" => begins with "https://"
url = " https://u.example" => begins with "https://"
url = "https://u.example " => spaces or line ends
url = "https://me@u.example" => no user or password
url = "https://u.example/?a=b" => holds no `?`
url = "https://u.example/#a" => holds no `#`
urls = ["https://v.example"] => `urls` stands in place of `url`
urls = ["v.example"] => `urls` is no URL
auth = {} => exactly one of
auth = { bearer = "a", query = { name = "a", value = "b" } } => exactly one of
auth = { oauth2 = { client_id = "a", client_secret = "b" } } => `token_url` is missing, write `token_url = "https://login.example/token"`
auth = { oauth2 = { token_url = "https://l.example", client_id = "a" } } => `client_secret` is missing
auth = { oauth2 = { token_url = "l.example", client_id = "a", client_secret = "b" } } => `token_url` is no URL
auth = { oauth2 = { token_url = "https://me:pw@l.example", client_id = "a", client_secret = "b" } } => no user or password
auth = { oauth2 = { token_url = "https://l.example", client_id = "a", client_secret = "b", scopes = "c" } } => `scopes` is a list of scopes
auth = { oauth2 = { token_url = "https://l.example", client_id = "a", client_secret = "b", scopes = ["c d"] } } => `scopes`: a scope holds no spaces
auth = { oauth2 = { token_url = "https://l.example", client_id = "a", client_secret = "b", scope = [] } } => did you mean `scopes`?
auth = { oauth2 = { token_url = "https://l.example", client_id = "", client_secret = "b" } } => `client_id` is empty
auth = { bearer = "a", oauth2 = {} } => exactly one of
auth = { bearer = "a b" } => `bearer` holds spaces
auth = { basic = { user = "a:b", password = "c" } } => holds a colon
auth = { basic = { user = "a" } } => `password` is missing
auth = { header = { name = "a b", value = "c" } } => is no header's name
auth = { header = { name = "Host", value = "c" } } => belongs to the connection
auth = { header = { name = "x", value = "é\n" } } => control characters
auth = { header = { name = "x", value = " a" } } => holds what no header may
auth = { query = { name = "", value = "c" } } => a parameter has a name
headers = { connection = "close" } => belongs to the connection
headers = { if-none-match = "x" } => compares them itself
headers = { Range = "x" } => compares them itself
headers = { x = "a\nb" } => holds what no header may
headers = { x = "a", X = "b" } => header `x` is given twice
auth = { bearer = "a" } ;; headers = { Authorization = "b" } => twice, by `auth` and by `headers`
timeout = "0s" => `timeout` must be 1ms to 1h
connect_timeout = "2h" => `connect_timeout` must be 1ms to 1h
connections_max = 1.5 => a whole number, not a float
connections_max = 10001 => must be 1 to 10000
egress_proxy = "proxy:3128" => `egress_proxy` is a URL without path
egress_proxy = "https://p.example" => `egress_proxy` is a URL without path
egress_proxy = "http://p.example/x" => `egress_proxy` is a URL without path
egress_proxy = "http://p.example/?x" => `egress_proxy` is a URL without path
egress_proxy = "" => `egress_proxy` is empty
tls = {} => `tls` is empty, write `ca = "ca.pem"`
tls = "ca.pem" => `tls` is a table, not a string
tls = { ca = "lost.pem" } => `lost.pem` cannot be read
tls = { ca = "Cargo.toml" } => `ca` holds no certificate in PEM
tls = { ca = "tests/it/tls/client.key.pem" } => `ca` holds no certificate in PEM
tls = { cert = "tests/it/tls/client.pem" } => `cert` goes with `key`, write `key = "key.pem"`
tls = { key = "tests/it/tls/client.key.pem" } => `key` goes with `cert`, write `cert = "cert.pem"`
tls = { cert = "tests/it/tls/client.pem", key = "tests/it/tls/stranger.key.pem" } => `key` is not the key of `cert`
tls = { cert = "tests/it/tls/client.pem", key = "tests/it/tls/ca.pem" } => `key` holds no private key in PEM
tls = { ca = "tests/it/tls/ca.pem", verify = false } => unknown key `verify`
url = "http://u.example" ;; tls = { ca = "tests/it/tls/ca.pem" } => `tls` is about https://
redirects = -1 => `redirects` must be 0 to 20
redirects = 99999999999999999999999 => `redirects` must be 0 to 20
"#;

/// In `[sources.s]`.
const SOURCE: &str = r#"
upstream = "uu" => there is no upstream "uu", add `[upstreams.uu]`
upstream = "tracker" => add `[upstreams.tracker]`
path = "s" => does not begin with `/`
path = "/s?a=b" => write `query = { NAME = "VALUE" }`
path = "/a/../b" => no `.` or `..` segments
path = "/a/%2E%2e/b" => no `.` or `..` segments
path = "/a b" => percent-encode it
path = "/%zz" => percent-encode it
path = "/ä" => `ä` cannot stand in a path
each = {} => `each` has 1 to 4 names
each = [] => `each` is a table, not an array
each = { Repo = ["a"] } => a name is written with a-z
each = { a = "b" } => `a` is a list of values
each = { a = [] } => `a` has no values
each = { a = [""] } => `a`: a value is empty
each = { a = ["x/../y"] } => a `.` or `..` segment
each = { a = ["x\ty"] } => a control character
each = { a = [{}] } => a string, a number, true or false
each = { a = ["b"] } => name `a` of `each` is not asked for, write `{{a}}`
each = { a = { file = "lost.txt" } } => `lost.txt` cannot be read
each = { a = { file = 7 } } => `file` is a path, not an integer
each = { a = { source = "x", at = "$.id" } } => there is no source "x", add `[sources.x]`
each = { a = { source = "s", at = "$.id" } } => `s` would be divided by itself, through "s"
each = { now = ["b"] } ;; path = "/{{now}}" => name `now` of `each` is taken
path = "/a/{{repo}}" => there is no variable `repo`
path = "/a/{{nw}}" => did you mean `now`?
path = "/a/{{now" => close it with `}}`
path = "{{now}}" => does not begin with `/`
query = { a = "{{cursor}}" } => add `cursor = { from = "$.…" }`
headers = { x = "{{x}}" } => there is no variable `x`
method = "post" => write "POST"
method = "DELETE" => a poll asks and changes nothing
body = "{}" => a GET has no body
method = "POST" ;; body = "a=b" => add `headers = { content-type
method = "POST" ;; body = "{" => `body` is no JSON
method = "POST" ;; body = { a = 1979-05-27 } => JSON has no dates
method = "POST" ;; body = { a = nan } => JSON has no such number
method = "POST" ;; body = "{\"a\": \"{{cursor}}\"}" => `{{cursor}}` has no value
method = "POST" ;; body = {} ;; headers = { content-type = "text/x" } => a table is sent as JSON
paginate = { by = "link" } => `paginate` is about items
cursor = { from = "$.a", param = "b" } => `cursor` is about items
query = { a = {} } => a string, a number, true or false
headers = { te = "x" } => belongs to the connection
every = "99ms" => `every` must be 100ms to 366d
every = "367d" => `every` must be 100ms to 366d
every = { min = "5s" } => `max` is missing, write `max = "15m"`
every = { max = "5s" } => `min` is missing, write `min = "5s"`
every = { min = "15m", max = "5s" } => `max` is shorter than `min`, write at least "15m"
every = { min = "99ms", max = "5s" } => `min` must be 100ms to 366d
every = { min = "5s", max = "15m", timezone = "UTC" } => `cron` says when it is polled, leave `min` out
every = { cron = "* * * * *", max = "15m" } => `cron` says when it is polled, leave `max` out
every = { mni = "5s" } => unknown key `mni`, did you mean `min`?
every = { cron = "* * * * *", timezone = "Europe/Berln" } => did you mean "Europe/Berlin"?
every = { cron = "* * * * *", timezone = "CEST" } => no time zone "CEST"
every = { cron = "* 24 * * *" } => no hour: 0 to 23
every = { cron = "0 0 30 2 *" } => never comes
every = { cron = "* * * *" } => 5 fields, not 4
every = { cron = 5 } => `cron` is a cron expression like "*/5 8-18 * * MON-FRI", not an integer
every = { timezone = "UTC" } => `cron` is missing
every = {} => `every` is empty, write `{ min = "5s", max = "15m" }` or `{ cron =
format = "cvs" => or "text" or "bytes", not "cvs", did you mean "csv"?
format = "yaml" => `format` is "auto" or "json" or "ndjson" or "csv" or "xml" or "feed" or "html"
format = "rss" => or "text" or "bytes", not "rss"
format = ["csv"] => or "text" or "bytes", not an array
format = "html" ;; items = "$.a[*]" ;; id = "$.text" => elements are selected by CSS
format = "html" ;; items = "tr >" ;; id = "$.text" => `items`: no CSS selector
format = "html" ;; items = ["tr"] ;; id = "$.text" => `items` is a CSS selector like "table
format = "html" ;; items = "tr" => `items` needs what identifies each
format = "html" ;; deletes = "full" => add `items` and `id`
format = "csv" ;; items = "tr" ;; id = "$.text" => a JSONPath begins with `$`
format = "bytes" ;; items = "$[*]" ;; id = "$.id" => bytes have no items
format = "feed" ;; id = "id" => a JSONPath begins with `$`
items = "$[*]" => `items` needs what identifies each
id = "$.id" => `id` is about items
items = "$[*]" ;; id = [] => `id` is empty
items = 5 ;; id = "$.id" => `items` is a JSONPath
ignore = ["$.a"] ;; only = ["$.b"] => leave `ignore` out
unordered = "$.a" => a list of JSONPaths, not a string
deletes = "full" => add `items` and `id`
deletes = { tombstone = "$[?@.x]" } => add `items` and `id`
forget = "90d" => `forget` is about items, add `items` and `id`
confirm = 2 => `confirm` is a table, not an integer
confirm = { polls = 1 } => `polls` must be 2 to 10
confirm = { polls = 11 } => `polls` must be 2 to 10
confirm = { after = "25h" } => `after` must be 1ms to 1d
stale_after = "999ms" => `stale_after` must be 1s to 366d
"#;

/// In `[sources.s]` that has `items` and `id`.
const ITEMS: &str = r#"
deletes = "sometimes" => "never" or "full"
forget = "999ms" => `forget` must be 1s to 3660d
deletes = "full" ;; forget = "90d" => leaves nothing to forget
deletes = {} => `tombstone` is missing, write `tombstone = "$[?@.deleted == true]"`
deletes = { tombstone = 1 } => `tombstone` is a filter like "$[?@.deleted == true]"
deletes = { tombstone = "$.deleted" } => `tombstone`: a filter asks about `@` in `$[?…]`
deletes = { tombstone = "$[?@.x ==]" } => `tombstone`: no JSONPath (RFC 9535)
deletes = { tombstone = "$[?@.x]", gone = 1 } => unknown key `gone`
items_max = 0 => `items_max` must be 1 to
items_max = 100000000 => `items_max` must be 1 to
baseline = "loud" => "silent" or "emit"
guard = { deletes_max_ratio = 1.5 } => must be 0 to 1
guard = { deletes_max_ratio = nan } => must be 0 to 1
guard = { deletes_max = 1 } => known here: `deletes_max_ratio`
failing_after = 0 => `failing_after` must be 1 to 1000
keep = "all" => "bodies" or "digests"
body_bytes_max = "1KB" => `body_bytes_max` must be 1KiB to 1GiB
body_bytes_max = "1.5MiB" => is no size
body_bytes_max = "99999999999999999999GiB" => is no size
body_bytes_max = 4096 => a size like "256KiB", not an integer
cursor = { from = "$.a" } => nobody is told how far it is
cursor = { from = "$.*", param = "b" } => selects every element
cursor = { from = "$.a", param = "" } => a parameter has a name
cursor = { from = "$.a", param = "b", initial = "{{last_success}}" } => there is no last success
cursor = { from = "$.a", param = "b", initial = "{{cursor}}" } => `{{cursor}}` has no value
cursor = { from = "$.a", param = "b", lookback = "400d" } => `lookback` must be 0s to 366d
cursor = { from = "$.a", param = "b", into = "body" } => needs a JSON body
cursor = { from = "$.a", param = "b" } ;; query = { b = 1 } => `b` is given twice
cursor = { from = "$.a", param = "b" } ;; query = { c = "{{cursor}}" } => would send it twice
cursor = { from = "$.a", param = "b" } ;; deletes = "full" => lists what changed alone
cursor = { from = "$.a" } ;; path = "/{{cursor}}" => has no value at first, add `initial
cursor = { from = "$.a", param = "b" } ;; paginate = { by = "page", param = "b" } => give them two names
query = { b = "{{last_success}}" } ;; deletes = "full" => lists what changed alone
paginate = {} => `by` is missing
paginate = { by = "links" } => `by` is "link" or "next" or "cursor"
paginate = { by = "link", param = "p" } => `param` is not for `by = "link"`
paginate = { by = "page", param = "p", limit = 5 } => `limit` is not for `by = "page"`
paginate = { by = "page" } => `param` is missing, write `param = "page"`
paginate = { by = "page", param = "" } => a parameter has a name
paginate = { by = "page", param = "p", end_status = 500 } => `end_status` must be 400 to 499
paginate = { by = "offset", param = "p" } => `limit` is missing
paginate = { by = "offset", param = "p", limit = 0 } => `limit` must be 1 to
paginate = { by = "next" } => where the next page is named
paginate = { by = "next", at = "$.a", header = "b" } => where the next page is named
paginate = { by = "next", at = "next" } => begins with `$`
paginate = { by = "next", at = "$[*].next" } => selects every element
paginate = { by = "link", pages_max = 0 } => `pages_max` must be 1 to 100000
paginate = { by = "page", param = "p", into = "body" } => needs a JSON body
query = { p = 1 } ;; paginate = { by = "page", param = "p" } => `p` is given twice
"#;

/// In `[endpoints.e]`.
const ENDPOINT: &str = r#"
handshake = "https://doorbell.example" => without scheme and port
handshake = true => `handshake` is a host like "doorbell.example"
url = "http://localhost:1/" => `url` is a private address, add `allow_private = true`
url = "http://a.localhost./" => `url` is a private address, add `allow_private = true`
url = "http://127.0.0.2/" => `url` is a private address, add `allow_private = true`
url = "https://10.0.0.1/" => `url` is a private address, add `allow_private = true`
url = "https://169.254.169.254/" => `url` is a private address, add `allow_private = true`
url = "https://100.64.0.1/" => `url` is a private address, add `allow_private = true`
url = "https://2130706433/" => `url` is a private address, add `allow_private = true`
url = "https://[::1]/" => `url` is a private address, add `allow_private = true`
url = "https://[::ffff:10.0.0.1]/" => `url` is a private address, add `allow_private = true`
url = "https://[fd00::1]/" => `url` is a private address, add `allow_private = true`
url = "http://[::]/" ;; allow_private = false => set `allow_private = true`
url = "https://me:pw@e.example/" => no user or password
url = "https://e.example/#x" => holds no `#`
secrets = [] => `secrets` is empty
secrets = ["x"] => begins with `whsec_` or `whsk_`
secrets = ["whsk_c2hvcnQ="] => holds 32 bytes, or 64
secrets = ["whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="] => is public and only verifies
signature = ["github"] => always has "standard"
signature = [] => always has "standard"
signature = ["standard", "gitlab"] => "standard" or "github", not "gitlab"
signature = "github" => a list like
secrets = ["whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="] ;; signature = ["standard", "github"] => there is none
secrets = ["whsec_???"] => is base64 after
secrets = ["whsec_c2hvcnQ="] => holds 24 to 64 bytes
secrets = [{ env = "NOPE" }] => no variable `NOPE`
events = [] => `events` is empty
events = [5] => a glob like "issues.*", not an integer
events = ["s.changed"] => "s.changed" matches no event type
events = ["x.*"] => matches no event type
events = ["s"] => matches no event type
events = ["*.failing"] => matches no event type
events = ["doorbell.source.faling"] => did you mean "doorbell.source.failing"?
timeout = "0s" => `timeout` must be 1ms to 1h
retry = ["0s"] => `retry` must be 1ms to 30d
retry = ["31d"] => `retry` must be 1ms to 30d
concurrency = 0 => `concurrency` must be 1 to 10000
order = "fifo" => "subject" or "none"
headers = { Webhook-Id = "x" } => Standard Webhooks says what it holds
headers = { content-type = "x" } => Standard Webhooks says what it holds
headers = { upgrade = "x" } => belongs to the connection
allow_private = "yes" => `allow_private` is true or false, not a string
rate = 5 => `rate` is a table, not an integer
rate = { per = "1s" } => `requests` is missing, write `requests = 10`
rate = { requests = 10 } => `per` is missing, write `per = "1s"`
rate = { requests = 0, per = "1s" } => `requests` must be 1 to 1000000
rate = { requests = 1.5, per = "1s" } => `requests` is a whole number, not a float
rate = { requests = 1, per = "0s" } => `per` must be 1ms to 1d
rate = { requests = 1, per = "2d" } => `per` must be 1ms to 1d
rate = { requests = 1, per = "1s", burst = 2 } => unknown key `burst`, known here: `requests`, `per`
disable_after = 5 => `disable_after` is a duration like "30s", not an integer
disable_after = "0s" => `disable_after` must be 1s to 3650d
disable_after = "never" => "never" is no duration
format = "xml" => "standard" or "cloudevents" or "cloudevents_binary" or "template", not "xml"
format = "template" => `template` is missing
template = "x" => does nothing without `format = "template"`
content_type = "text/plain" => does nothing without `format = "template"`
format = "template" ;; template = "{{ x" => `template`: line 1: syntax error
format = "template" ;; template = "{{ title }}" => it knows `id`, `type`, `timestamp` and `data`
format = "template" ;; template = "{{ id | uper }}" => unknown filter
format = "template" ;; template = "x" ;; content_type = "json" => is no media type
format = "template" ;; template = "x" ;; content_type = "a/b\nc: d" => is no media type
payload = "half" => "full" or "patch" or "thin", not "half"
payload_bytes_max = "1KiB" => must be 4KiB to 16MiB
redact = "$.data" => a list of JSONPaths, not a string
redact = ["$.data"] => would leave nothing
redact = ["$.current.email"] => write `$.data.current.…`
redact = ["$.data.curent.email"] => `data` has no `curent`
filter = "$.data" => never selects
filter = "$[?@.current.state == 'x']" => write `@.data.current.…`
filter = "$[?" => no JSONPath
"#;

/// In `[routes.r]`.
const ROUTE: &str = r#"
upstream = "v" => there is no upstream "v"
path = "r" => does not begin with `/`
path = "/r/?a" => a path holds no `?`
path = "/./" => no `.` or `..` segments
host = "https://r.example" => without scheme and port
host = "r.example:80" => without scheme and port
methods = [] => `methods` is empty
methods = ["get"] => write "GET"
methods = ["GET", "GET"] => GET is given twice
methods = ["CONNECT"] => CONNECT is never passed on
methods = ["A B"] => is no method
limits = [{ by = "ip", requests = 0, per = "1s" }] => `requests` must be 1 to 1000000
limits = [{ by = "ip", requests = 1, per = "0s" }] => `per` must be 1ms to 1d
limits = [{ by = "ip", requests = 1 }] => `per` is missing
limits = [{ by = "user", requests = 1, per = "1s" }] => none of "ip", "header:NAME"
limits = [{ by = "header:", requests = 1, per = "1s" }] => is no header's name
limits = [{ by = "ip", requests = 1, per = "1d", burst = 31 }] => more than 30 days
limits = [{ by = "ip", requests = 1, per = "1s", brust = 3 }] => did you mean `burst`?
auth = {} => `keys` is missing
auth = { keys = [] } => `keys` is empty
auth = { keys = ["a b"] } => `keys` holds spaces
auth = { keys = ["a"] } ;; open = true => leave it or `auth` out
body_bytes_max = "2GiB" => must be 1KiB to 1GiB
concurrency = 10001 => must be 1 to 10000
"#;

/// A table with `lines`, and what it must have unless the lines say it.
fn table(head: &str, defaults: &[(&str, &str)], lines: &str) -> String {
    let mut text = format!("[{head}]\n");
    let key_of = |line: &str| line.split('=').next().map(|key| key.trim().to_owned());
    let said: Vec<_> = lines.lines().filter_map(key_of).collect();
    for (key, value) in defaults {
        if !said.iter().any(|said| said == key) {
            let _ = writeln!(text, "{key} = {value}");
        }
    }
    text + lines + "\n"
}

fn ask(lines: &str) -> String {
    table("upstreams.u", &[("url", "\"https://u.example\"")], lines)
}

pub(super) fn asked(lines: &str) -> String {
    let source = "[sources.s]\nupstream = \"u\"\npath = \"/s\"\nevery = \"1s\"\n";
    ask(lines) + source
}

pub(super) fn watch(lines: &str) -> String {
    let defaults = [
        ("upstream", "\"u\""),
        ("path", "\"/s\""),
        ("every", "\"1s\""),
    ];
    ask("") + &table("sources.s", &defaults, lines)
}

fn watch_items(lines: &str) -> String {
    watch(&format!("items = \"$[*]\"\nid = \"$.id\"\n{lines}"))
}

pub(super) fn ring(lines: &str) -> String {
    let secrets = format!("[\"{KEY}\"]");
    let defaults = [("url", "\"https://e.example\""), ("secrets", &secrets)];
    watch_items("") + &table("endpoints.e", &defaults, lines)
}

fn pass(lines: &str) -> String {
    let defaults = [("path", "\"/r/\""), ("upstream", "\"u\"")];
    let proxy = "[proxy]\nlisten = [\"127.0.0.1:8080\"]\n";
    proxy.to_owned() + &ask("") + &table("routes.r", &defaults, lines)
}

pub(super) fn assert_each_is_refused(cases: &str, write: impl Fn(&str) -> String) {
    for case in cases.trim().lines() {
        let (lines, said) = case.split_once(" => ").expect("a case has both");
        assert_refused(&write(&lines.replace(" ;; ", "\n")), said);
    }
}

fn assert_refused(text: &str, said: &str) {
    let Err(faults) = read(text) else {
        panic!("{said}: taken for right:\n{text}");
    };
    let messages: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
    let as_said = messages.len() == 1 && messages[0].contains(said);
    assert!(
        as_said,
        "{said:?} was not what was said of\n{text}\n{faults}"
    );
}

#[test]
fn no_route_leads_to_an_upstream_behind_an_egress_proxy() {
    let proxy = "[proxy]\nlisten = [\"127.0.0.1:8080\"]\n";
    let text = proxy.to_owned() + &ask("egress_proxy = \"http://p.example:3128\"");
    assert!(read(&text).is_ok());
    let routed = text
        + &table(
            "routes.r",
            &[("path", "\"/r/\""), ("upstream", "\"u\"")],
            "",
        );
    assert_refused(&routed, "calls do not go through `egress_proxy`");
}

#[test]
fn several_urls_are_of_one_kind_and_all_different() {
    for (urls, said) in [
        ("[]", "`urls` is empty"),
        (
            r#"["https://a.example", "http://b.example"]"#,
            "all https://",
        ),
        (
            r#"["https://a.example", "https://a.example/"]"#,
            "the same URL twice",
        ),
        (r#"["https://a.example/?b"]"#, "`urls` holds no `?`"),
    ] {
        assert_refused(&format!("[upstreams.u]\nurls = {urls}\n"), said);
    }
}

#[test]
fn what_the_tables_begin_with_is_right() {
    for text in [
        ask(""),
        asked(""),
        watch(""),
        watch_items(""),
        ring(""),
        pass(""),
    ] {
        assert!(read(&text).is_ok(), "{text}");
    }
}

#[test]
fn wrong_log_store_admin_and_proxy_are_refused() {
    assert_each_is_refused(SERVICE, str::to_owned);
}

#[test]
fn wrong_upstreams_are_refused() {
    assert_each_is_refused(UPSTREAM, asked);
}

#[test]
fn wrong_sources_are_refused() {
    assert_each_is_refused(SOURCE, watch);
    assert_each_is_refused(ITEMS, watch_items);
    let taken = "[sources.doorbell]\nupstream = \"u\"\n";
    assert_refused(&(ask("") + taken), "`doorbell` is taken");
}

#[test]
fn wrong_endpoints_are_refused() {
    assert_each_is_refused(ENDPOINT, ring);
    let many = format!("retry = [{}]", "\"1s\",".repeat(101));
    assert_refused(&ring(&many), "at most 100 entries");
}

#[test]
fn wrong_routes_are_refused() {
    assert_each_is_refused(ROUTE, pass);
    assert!(
        read(&pass(
            "limits = [{ by = \"ip\", requests = 1, per = \"1d\", burst = 30 }]"
        ))
        .is_ok()
    );
}

#[test]
fn routes_that_the_network_reaches_say_who_may_call() {
    let exposed = |lines: &str| pass(lines).replace("127.0.0.1", "0.0.0.0");
    let said = "lends doorbell's credentials to all who reach 0.0.0.0:8080: add `auth = \
                { keys = [{ env = \"…\" }] }` or `open = true`";
    assert_refused(&exposed(""), said);
    assert_refused(&exposed("open = false"), said);
    assert!(read(&exposed("open = true")).is_ok());
    assert!(read(&exposed("auth = { keys = [\"a\"] }")).is_ok());
}

#[test]
fn routes_that_take_the_same_calls_are_refused() {
    let two = |one: &str, other: &str| {
        let other = format!("[routes.q]\npath = \"/r/\"\nupstream = \"u\"\n{other}\n");
        pass(one) + &other
    };
    let said = "route `q` takes the same calls as route `r`";
    assert_refused(&two("", ""), said);
    assert_refused(&two("methods = [\"GET\"]", ""), said);
    let overlap = two("methods = [\"GET\", \"PUT\"]", "methods = [\"PUT\"]");
    assert_refused(&overlap, said);
    let host = two("host = \"R.example\"", "host = \"r.example\"");
    assert_refused(&host, said);
    assert!(read(&two("methods = [\"GET\"]", "methods = [\"PUT\"]")).is_ok());
    assert!(read(&two("host = \"r.example\"", "")).is_ok());
}

/// A file with these lines in the table that is looked at.
type Write = fn(&str) -> String;

/// Whatever a table knows is read: no key takes a date, so each must complain of one; and whatever
/// it will know some day is refused.
#[test]
fn no_key_is_accepted_and_ignored() {
    let tables: [(&Keys, Write); 4] = [
        (&upstream::UPSTREAM, ask),
        (&source::SOURCE, watch),
        (&endpoint::ENDPOINT, ring),
        (&route::ROUTE, pass),
    ];
    for (keys, write) in tables {
        for key in keys.now {
            let faults = read(&write(&format!("{key} = 1979-05-27"))).expect_err(key);
            let told = faults
                .iter()
                .any(|f| f.message.contains(key) && f.message.contains("not a date"));
            assert!(told, "{key}: {faults}");
        }
        for key in keys.later {
            let faults = read(&write(&format!("{key} = 1979-05-27"))).expect_err(key);
            let said = format!("`{key}` is not supported yet");
            assert!(faults.iter().any(|f| f.message == said), "{key}: {faults}");
        }
    }
    for text in [
        "log.level",
        "log.format",
        "store.url",
        "store.retain",
        "store.retain_dead",
        "admin.listen",
        "admin.token",
        "admin.metrics_token",
        "admin.hosts",
        "metrics.per_source",
        "admin.public_url",
        "admin.allow_networks",
        "proxy.listen",
        "proxy.trusted_proxies",
        "proxy.connections_max",
        "proxy.drain_delay",
        "proxy.grace",
        "log",
        "store",
        "admin",
        "metrics",
        "proxy",
        "upstreams",
        "sources",
        "endpoints",
        "routes",
    ] {
        let faults = read(&format!("{text} = 1979-05-27")).expect_err(text);
        assert!(
            faults.to_string().contains("not a date"),
            "{text}: {faults}"
        );
    }
}
