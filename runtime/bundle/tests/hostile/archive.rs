//! The tar, at both levels: the file itself and the code layer in it.

use aria_bundle::Rule;

use crate::support::{Entry, Parts, directory, file, parts, tar, tar_open};
use crate::{Case, case};

type Change = fn(&mut Vec<Entry>);

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    paths(&mut cases);
    kinds(&mut cases);
    headers(&mut cases);
    ends(&mut cases);
    cases
}

/// The same change to the entries of the file and of the code layer.
fn both(cases: &mut Vec<Case>, id: &str, rule: Rule, change: impl Fn(&mut Vec<Entry>) + Clone + 'static) {
    let inner = change.clone();
    cases.push(case(format!("layer/{id}"), rule, move || parts().entries(&inner).bytes()));
    cases.push(case(format!("file/{id}"), rule, move || {
        let mut entries = parts().image().entries();
        change(&mut entries);
        tar(&entries)
    }));
}

fn both_bytes(cases: &mut Vec<Case>, id: &str, rule: Rule, change: fn(&mut Vec<u8>)) {
    cases.push(case(format!("layer/{id}"), rule, move || {
        let mut layer = parts().code_tar();
        change(&mut layer);
        Parts { layer_tar: Some(layer), ..parts() }.bytes()
    }));
    cases.push(case(format!("file/{id}"), rule, move || {
        let mut bytes = parts().bytes();
        change(&mut bytes);
        bytes
    }));
}

fn last(entries: &mut [Entry]) -> &mut Entry {
    entries.last_mut().expect("entries")
}

fn paths(cases: &mut Vec<Case>) {
    let escapes = [
        "../x",
        "a/../../x",
        "/x",
        "//x",
        "C:\\x",
        "C:/x",
        "c:",
        "",
        ".",
        "..",
        "./a",
        "a/./b",
        "a/..",
        "a//b",
        "x/",
        "\\\\host\\share",
        "a\\b",
        "\\x",
    ];
    let deceptions = [
        "a\nb",
        "a\rb",
        "a\tb",
        "a\u{1b}[2J",
        "a\u{7f}",
        "a\u{85}b",
        "a\u{61c}b",
        "a\u{200e}b",
        "a\u{200f}b",
        "a\u{2028}b",
        "a\u{2029}b",
        "a\u{202a}b",
        "a\u{202b}b",
        "a\u{202d}b",
        "a\u{202e}txt.exe",
        "a\u{2066}b",
        "a\u{2067}b",
        "a\u{2068}b",
        "a\u{2069}b",
        "a\u{feff}b",
    ];
    for (names, rule) in [(escapes.to_vec(), Rule::PathEscape), (deceptions.to_vec(), Rule::NameChars)] {
        for name in names {
            both(cases, &format!("name {name:?}"), rule, move |entries| entries.push(file(name, b"")));
        }
    }
    for (id, raw) in [
        ("a lone byte", &b"a\xff"[..]),
        ("a cut character", b"a\xc3"),
        ("an overlong dot", b"\xc0\xae\xc0\xae/x"),
        ("half a surrogate pair", b"\xed\xa0\x80"),
        ("beyond the last character", b"\xf4\x90\x80\x80"),
        ("bytes after a NUL", b"a\0b"),
    ] {
        both(cases, &format!("name with {id}"), Rule::NameChars, move |entries| last(entries).name = raw.into());
    }
    let changes: [(&str, Rule, Change); 16] = [
        ("a prefix that leaves", Rule::PathEscape, |entries| {
            entries.push(Entry { prefix: b"..".into(), ..file("x", b"") })
        }),
        ("an absolute prefix", Rule::PathEscape, |entries| {
            entries.push(Entry { prefix: b"/".into(), ..file("x", b"") })
        }),
        ("a prefix of here", Rule::PathEscape, |entries| entries.push(Entry { prefix: b".".into(), ..file("x", b"") })),
        ("a prefix with bytes after its NUL", Rule::NameChars, |entries| {
            entries.push(Entry { prefix: b"a\0b".into(), ..file("x", b"") });
        }),
        ("a prefix that is not UTF-8", Rule::NameChars, |entries| {
            entries.push(Entry { prefix: b"\xfe".into(), ..file("x", b"") });
        }),
        ("a directory that leaves", Rule::PathEscape, |entries| entries.push(directory("../x/"))),
        ("the root directory", Rule::PathEscape, |entries| entries.push(directory("/"))),
        ("here as a directory", Rule::PathEscape, |entries| entries.push(directory("./"))),
        ("a directory with two slashes", Rule::PathEscape, |entries| entries.push(directory("x//"))),
        ("33 levels", Rule::NameTooLong, |entries| entries.push(file(&vec!["a"; 33].join("/"), b""))),
        ("a path twice", Rule::Duplicate, |entries| entries.push(entries[0].clone())),
        ("a file and a directory", Rule::Duplicate, |entries| {
            entries.push(directory(&String::from_utf8_lossy(&entries[0].name.clone())));
        }),
        ("a file below a file", Rule::Duplicate, |entries| {
            let below = format!("{}/x", String::from_utf8_lossy(&entries[0].name));
            entries.push(file(&below, b""));
        }),
        ("a path in capitals", Rule::Collision, |entries| {
            let upper = String::from_utf8_lossy(&entries[0].name).to_uppercase();
            entries.push(file(&upper, b""));
        }),
        ("a name not in NFC", Rule::Collision, |entries| entries.push(file("code/e\u{301}.js", b""))),
        ("a Kelvin sign", Rule::Collision, |entries| entries.push(file("code/\u{212a}.js", b""))),
    ];
    for (id, rule, change) in changes {
        both(cases, id, rule, change);
    }
    let twins: [(&str, Rule, [&str; 2]); 3] = [
        ("sharp s and SS", Rule::Collision, ["src/stra\u{df}e.ts", "src/STRASSE.ts"]),
        ("long s and s", Rule::Collision, ["src/\u{17f}.ts", "src/s.ts"]),
        ("directories that differ in case", Rule::Collision, ["src/Lib/a.ts", "src/lib/b.ts"]),
    ];
    for (id, rule, names) in twins {
        cases.push(case(format!("layer/listed: {id}"), rule, move || {
            let mut parts = parts();
            parts.files.extend(names.map(|name| (name.to_owned(), name.as_bytes().to_vec())));
            parts.listing_its_files().bytes()
        }));
    }
}

fn kinds(cases: &mut Vec<Case>) {
    for (flag, target) in [
        (b'1', "oci-layout"),
        (b'1', "/etc/passwd"),
        (b'1', "code/forecast.js"),
        (b'2', "/etc"),
        (b'2', "../.."),
        (b'2', "code"),
        (b'2', ""),
    ] {
        let id = format!("link {} to {target:?}", char::from(flag));
        both(cases, &id, Rule::Link, move |entries| {
            entries.push(Entry { link: target.into(), ..file("link", b"").flag(flag) });
            entries.push(file("link/through", b"x"));
        });
    }
    both(cases, "a file with a link target", Rule::Link, |entries| last(entries).link = b"x".into());
    both(cases, "a link target behind a NUL", Rule::Link, |entries| last(entries).link = b"\0x".into());
    for flag in [b'3', b'4', b'6', b'7', b'8', b'9', b'B', b'Z', b' ', b'\n', 0xff] {
        let id = format!("type {flag:#04x}");
        both(cases, &id, Rule::EntryType, move |entries| entries.push(file("dev", b"").flag(flag)));
    }
    for flag in *b"xgXLKNVMDAI" {
        let id = format!("extension header {}", char::from(flag));
        both(cases, &id, Rule::TarExtension, move |entries| {
            entries.insert(0, file("././@PaxHeader", b"30 mtime=1350244992.023960108\n").flag(flag));
        });
    }
    both(cases, "a sparse entry", Rule::Sparse, |entries| entries.push(file("s", b"").flag(b'S')));
    both(cases, "a directory with content", Rule::SizeMismatch, |entries| {
        entries.push(Entry { content: b"x".into(), ..directory("code/d") });
    });
    cases.push(case("file/index.json is a directory", Rule::EntryType, || {
        tar(&[file("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}"), directory("index.json")])
    }));
    cases.push(case("file/a blob is a directory", Rule::EntryType, || {
        let mut entries = parts().image().entries();
        entries.push(directory(&format!("blobs/sha256/{}", "f".repeat(64))));
        tar(&entries)
    }));
}

fn headers(cases: &mut Vec<Case>) {
    for mode in ["0004755\0", "0002755\0", "0001777\0", "0100644\0", "0007777\0", "0040755\0"] {
        let id = format!("mode {}", mode.trim_end_matches('\0'));
        both(cases, &id, Rule::Mode, move |entries| last(entries).mode = mode.into());
    }
    let changes: [(&str, Rule, Change); 21] = [
        ("GNU magic", Rule::TarExtension, |entries| last(entries).magic = b"ustar  \0".into()),
        ("base-256 size", Rule::TarExtension, |entries| {
            last(entries).size = Some(b"\x80\0\0\0\0\0\0\0\0\0\0\x05".into())
        }),
        ("base-256 negative size", Rule::TarExtension, |entries| last(entries).size = Some([0xff; 12].into())),
        ("base-256 mode", Rule::TarExtension, |entries| last(entries).mode = b"\x80\0\0\0\0\0\x01\xa4".into()),
        ("base-256 mtime", Rule::TarExtension, |entries| last(entries).mtime = b"\x80\0\0\0\0\0\0\0\0\0\0\x01".into()),
        ("base-256 uid", Rule::TarExtension, |entries| last(entries).uid = b"\x80\0\0\0\0\0\0\x01".into()),
        ("bytes after the prefix", Rule::TarExtension, |entries| last(entries).tail = b"tar\0".into()),
        ("no magic", Rule::TarHeader, |entries| last(entries).magic = vec![0; 8]),
        ("another version", Rule::TarHeader, |entries| last(entries).magic = b"ustar\x0001".into()),
        ("magic with a space", Rule::TarHeader, |entries| last(entries).magic = b"ustar 00".into()),
        ("a decimal size", Rule::TarHeader, |entries| last(entries).size = Some(b"00000000089\0".into())),
        ("a hexadecimal size", Rule::TarHeader, |entries| last(entries).size = Some(b"0x000000010\0".into())),
        ("a negative size", Rule::TarHeader, |entries| last(entries).size = Some(b"-0000000001\0".into())),
        ("a size behind a space", Rule::TarHeader, |entries| last(entries).size = Some(b" 0000000001\0".into())),
        ("no size", Rule::TarHeader, |entries| last(entries).size = Some(vec![0; 12])),
        ("text after the mode", Rule::TarHeader, |entries| last(entries).mode = b"644\0x77\0".into()),
        ("a mode of spaces", Rule::TarHeader, |entries| last(entries).mode = vec![b' '; 8]),
        ("an uid that is text", Rule::TarHeader, |entries| last(entries).uid = b"root\0\0\0\0".into()),
        ("an mtime before the epoch", Rule::TarHeader, |entries| last(entries).mtime = b"-0000000001\0".into()),
        ("a device number", Rule::TarHeader, |entries| last(entries).device = b"0000001\0".into()),
        ("a checksum off by one", Rule::TarChecksum, |entries| last(entries).checksum_off_by = 1),
    ];
    for (id, rule, change) in changes {
        both(cases, id, rule, change);
    }
    both(cases, "a size of 8 GiB", Rule::EntryTooLarge, |entries| last(entries).size = Some(b"77777777777\0".into()));
    both(cases, "a byte in the padding of an entry", Rule::TrailingBytes, |entries| last(entries).padding = 1);
}

fn ends(cases: &mut Vec<Case>) {
    both_bytes(cases, "nothing at all", Rule::Truncated, Vec::clear);
    both_bytes(cases, "half a header", Rule::Truncated, |bytes| bytes.truncate(256));
    both_bytes(cases, "one header", Rule::Truncated, |bytes| bytes.truncate(512));
    both_bytes(cases, "cut in the middle", Rule::Truncated, |bytes| bytes.truncate(bytes.len() / 3));
    both_bytes(cases, "no padding", Rule::Truncated, |bytes| bytes.truncate(bytes.len() - 512));
    both_bytes(cases, "a byte less", Rule::Truncated, |bytes| bytes.truncate(bytes.len() - 1));
    both_bytes(cases, "a byte more", Rule::TrailingBytes, |bytes| bytes.push(0));
    both_bytes(cases, "a record more", Rule::TrailingBytes, |bytes| bytes.resize(bytes.len() + 10_240, 0));
    both_bytes(cases, "a byte in the padding", Rule::TrailingBytes, |bytes| *bytes.last_mut().expect("bytes") = 1);
    both_bytes(cases, "another archive behind it", Rule::TrailingBytes, |bytes| bytes.extend(parts().code_tar()));
    let hidden = |open: Vec<u8>| [open, vec![0; 512], tar(&[file("hidden", b"")])].concat();
    cases.push(case("file/an entry after one zero block", Rule::TrailingBytes, move || {
        hidden(tar_open(&parts().image().entries()))
    }));
    cases.push(case("layer/an entry after one zero block", Rule::TrailingBytes, move || {
        Parts { layer_tar: Some(hidden(tar_open(&parts().code_entries()))), ..parts() }.bytes()
    }));
}
