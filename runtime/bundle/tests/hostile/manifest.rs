//! The manifest: not JSON, not this format, or a value that may not stand where it stands.

use aria_bundle::Rule;
use serde_json::{Value, json};

use crate::support::{Parts, parts};
use crate::{Case, case};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = texts();
    cases.extend(absent());
    cases.extend(unknown());
    cases.extend(values());
    cases.extend(others());
    cases
}

fn texts() -> Vec<Case> {
    let text = || parts().manifest.to_string();
    let config = |id: &str, rule, make: fn(String) -> Vec<u8>| {
        case(format!("json/{id}"), rule, move || Parts { config: Some(make(text())), ..parts() }.bytes())
    };
    vec![
        config("empty", Rule::JsonInvalid, |_| Vec::new()),
        config("hello", Rule::JsonInvalid, |_| b"hello".into()),
        config("null", Rule::ManifestInvalid, |_| b"null".into()),
        config("a list", Rule::ManifestInvalid, |_| b"[]".into()),
        config("a key twice", Rule::JsonDuplicateKey, |text| text.replacen('{', "{\"name\":\"other\",", 1).into()),
        config("a key twice by escape", Rule::JsonDuplicateKey, |text| {
            text.replacen('{', "{\"n\\u0061me\":\"other\",", 1).into()
        }),
        config("a nested key twice", Rule::JsonDuplicateKey, |text| {
            text.replacen("\"pids\":64", "\"pids\":64,\"pids\":65", 1).into()
        }),
        config("100,000 levels", Rule::JsonDepth, |_| format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).into()),
        config("100,000 open braces", Rule::JsonDepth, |_| "{\"a\":".repeat(100_000).into()),
        config("deep in an extension", Rule::JsonDepth, |text| {
            text.replacen('{', &format!("{{\"x-deep\":{}{},", "[".repeat(64), "]".repeat(64)), 1).into()
        }),
        config("NaN", Rule::JsonInvalid, |text| text.replace("30000", "NaN").into()),
        config("Infinity", Rule::JsonInvalid, |text| text.replace("30000", "Infinity").into()),
        config("a leading zero", Rule::JsonInvalid, |text| text.replace("30000", "030000").into()),
        config("a plus sign", Rule::JsonInvalid, |text| text.replace("30000", "+30000").into()),
        config("a number beyond all", Rule::JsonInvalid, |text| text.replace("30000", "1e999").into()),
        config("a comment", Rule::JsonInvalid, |text| text.replacen('{', "{/**/", 1).into()),
        config("a comma before the end", Rule::JsonInvalid, |text| {
            text.replacen("\"agents\":[]", "\"agents\":[1,]", 1).into()
        }),
        config("single quotes", Rule::JsonInvalid, |text| text.replace('"', "'").into()),
        config("something behind it", Rule::JsonInvalid, |text| format!("{text} {{}}").into()),
        config("a NUL behind it", Rule::JsonInvalid, |text| format!("{text}\0").into()),
        config("a byte order mark", Rule::JsonInvalid, |text| format!("\u{feff}{text}").into()),
        config("UTF-16", Rule::JsonInvalid, |text| text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        config("not UTF-8", Rule::JsonInvalid, |text| [text.as_bytes(), b"\xff"].concat()),
        config("half a surrogate pair", Rule::JsonInvalid, |text| text.replacen("\"\"", "\"\\ud800\"", 1).into()),
        config("a line end in a string", Rule::JsonInvalid, |text| text.replacen("\"\"", "\"a\nb\"", 1).into()),
        config("cut", Rule::JsonInvalid, |mut text| {
            text.pop();
            text.into()
        }),
        config("more than a mebibyte", Rule::EntryTooLarge, |text| {
            text.replacen("\"\"", &format!("\"{}\"", "x".repeat(1 << 20)), 1).into()
        }),
    ]
}

fn put(manifest: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').expect("pointer");
    let parent = manifest.pointer_mut(parent).expect("parent");
    match (parent, key.parse::<usize>()) {
        (Value::Array(items), Ok(index)) if index == items.len() => items.push(value),
        (Value::Array(items), Ok(index)) => items[index] = value,
        (parent, _) => parent[key] = value,
    }
}

fn set(id: &str, pointer: &'static str, rule: Rule, value: Value) -> Case {
    case(format!("manifest{pointer} = {id}"), rule, move || {
        parts().manifest(|manifest| put(manifest, pointer, value.clone())).bytes()
    })
}

fn absent() -> Vec<Case> {
    let manifest = parts().manifest;
    let top = manifest.as_object().expect("object").keys().map(|key| format!("/{key}"));
    let tool = manifest["tools"][0].as_object().expect("object").keys().map(|key| format!("/tools/0/{key}"));
    let rest =
        ["/source/digest", "/builder/name", "/builder/version", "/files/0/path", "/files/0/size", "/files/0/sha256"];
    // Name and version are read from the manifest for the index too, so those two break two places at once.
    let all = top.chain(tool).chain(rest.map(str::to_owned)).filter(|pointer| pointer != "/files");
    all.map(|pointer| {
        case(format!("manifest{pointer} is absent"), Rule::ManifestInvalid, move || {
            parts()
                .manifest(|manifest| {
                    let (parent, key) = pointer.rsplit_once('/').expect("pointer");
                    manifest.pointer_mut(parent).and_then(Value::as_object_mut).expect("parent").remove(key);
                })
                .bytes()
        })
    })
    .collect()
}

fn unknown() -> Vec<Case> {
    let places = [
        "/more",
        "/tools/0/more",
        "/tools/0/limits/more",
        "/tools/0/annotations/more",
        "/source/more",
        "/builder/more",
        "/files/0/more",
    ];
    places.into_iter().map(|pointer| set("unknown key", pointer, Rule::ManifestInvalid, json!(1))).collect()
}

/// Values that may not stand where they stand.
fn values() -> Vec<Case> {
    let texts: [(&'static str, &[&str]); 7] = [
        ("/name", &["", "Weather", "1a", "a_b", "a.b", "../etc", "wéather", "a b"]),
        ("/tools/0/name", &["", "Forecast", "-a", "a.b", "../../bin/sh", "a\u{0}b"]),
        ("/version", &["", "1", "1.0", "v1.0.0", "01.0.0", "1.0.0-01", "1.0.0 ", "latest", "99999999999999999999.0.0"]),
        ("/engine", &["whatever", "v1", ">"]),
        (
            "/tools/0/tokens/1",
            &[
                "",
                "kv",
                "kv:*",
                "kv:../x:rw",
                "kv:orders :rw",
                "KV:orders",
                "kv:örders",
                "kv::rw",
                "nothing:x",
                "kv:orders:rw\n",
            ],
        ),
        (
            "/tools/0/egress/0",
            &[
                "",
                "*",
                "*.example.com",
                "Example.com",
                "a..b",
                "-a.com",
                "a.com:0",
                "a.com:99999",
                "http://a.com",
                "a b",
                "[::1]:80",
            ],
        ),
        ("/tools/0/secrets/0", &["", "Stripe", "../key", "a b", ".a"]),
    ];
    let entries: [(&'static str, &[&str]); 1] = [(
        "/tools/0/entry",
        &[
            "",
            "code/absent.js",
            "src/deep/er/forecast.ts",
            "code/forecast.js.map",
            "forecast.js",
            "/app/code/forecast.js",
            "code/../code/forecast.js",
            "../../bin/bun",
        ],
    )];
    let mut cases: Vec<Case> = texts
        .into_iter()
        .chain(entries)
        .flat_map(|(pointer, bad)| {
            bad.iter().map(move |text| set(&format!("{text:?}"), pointer, Rule::ManifestInvalid, json!(text)))
        })
        .collect();
    for (pointer, value) in [
        ("/description", json!(1)),
        ("/authors", json!("ann")),
        ("/authors", json!([1])),
        ("/license", json!(null)),
        ("/tools", json!({})),
        ("/tools/0", json!("forecast")),
        ("/agents", json!({})),
        ("/teams", json!(1)),
        ("/pipelines", json!("")),
        ("/dependencies", json!(null)),
        ("/dependencies", json!(["orders"])),
        ("/dependencies", json!([{"name": "orders"}])),
        ("/dependencies", json!([{"name": "../orders", "version": "^1.0.0"}])),
        ("/dependencies", json!([{"name": "orders", "version": "*"}])),
        ("/dependencies", json!([{"name": "orders", "version": "1.x"}])),
        ("/dependencies", json!([{"name": "orders", "version": "^1.0.0", "url": "https://example.com"}])),
        ("/dependencies", json!([{"name": "orders", "version": "^1.0.0"}, {"name": "orders", "version": "^2.0.0"}])),
        ("/source", json!("sha256:00")),
        ("/source/digest", json!("sha256:00")),
        ("/builder", json!([])),
        ("/files/0", json!([])),
        ("/files/0/size", json!(-1)),
        ("/files/0/size", json!(1.5)),
        ("/files/0/size", json!(1u64 << 53)),
        ("/files/0/sha256", json!("F".repeat(64))),
        ("/format", json!("1")),
        ("/tools/0/input", json!(true)),
        ("/tools/0/input", json!({"$schema": "http://json-schema.org/draft-07/schema#"})),
        ("/tools/0/output", json!([])),
        ("/tools/0/spawn", json!("yes")),
        ("/tools/0/approval", json!("sometimes")),
        ("/tools/0/timeoutMs", json!(0)),
        ("/tools/0/timeoutMs", json!(86_400_001)),
        ("/tools/0/annotations", json!([])),
        ("/tools/0/annotations/destructive", json!(0)),
        ("/tools/0/limits", json!(null)),
        ("/tools/0/limits/memoryBytes", json!(1)),
        ("/tools/0/limits/pids", json!(0)),
        ("/tools/0/limits/cpuMillis", json!(2_000_000)),
        ("/tools/0/limits/diskBytes", json!("64M")),
        ("/tools/0/limits/outputBytes", json!(1u64 << 50)),
        ("/tools/0/tokens", vec![json!("kv:a"); 257].into()),
        ("/program", json!("code/forecast.js")),
        ("/program", json!({"entry": "code/forecast.js"})),
    ] {
        let id: String = value.to_string().chars().take(60).collect();
        cases.push(set(&id, pointer, Rule::ManifestInvalid, value));
    }
    for (id, pointer, text) in [
        ("64 letters", "/name", "a".repeat(64)),
        ("64 letters", "/tools/0/name", "a".repeat(64)),
        ("64 letters", "/tools/0/secrets/0", "a".repeat(64)),
        ("64 letters", "/tools/0/egress/0", "a".repeat(64)),
        ("300 letters", "/tools/0/tokens/1", format!("kv:{}", "a".repeat(300))),
        ("134 bytes", "/version", format!("1.0.0-{}", "a".repeat(128))),
    ] {
        cases.push(set(id, pointer, Rule::ManifestInvalid, json!(text)));
    }
    cases
}

fn others() -> Vec<Case> {
    let mut cases = vec![
        set("2", "/format", Rule::FormatUnsupported, json!(2)),
        set("0", "/format", Rule::FormatUnsupported, json!(0)),
        set("wasm", "/tools/0/runtime", Rule::FormatUnsupported, json!("wasm")),
        set("a later engine", "/engine", Rule::FormatUnsupported, json!(">=99.0.0")),
        set("an earlier engine", "/engine", Rule::FormatUnsupported, json!("<0.0.1")),
    ];
    cases.push(case("manifest/tools: the same name twice", Rule::ManifestInvalid, || {
        parts()
            .manifest(|manifest| {
                let one = manifest["tools"][0].clone();
                put(manifest, "/tools/1", one);
            })
            .bytes()
    }));
    cases.push(case("manifest/tools: 1,001", Rule::ManifestInvalid, || {
        parts().manifest(|manifest| manifest["tools"] = vec![manifest["tools"][0].clone(); 1001].into()).bytes()
    }));
    cases
}
