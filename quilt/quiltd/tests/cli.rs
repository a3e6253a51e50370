//! The command line without an engine behind it; needs no privilege.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "in a test they are assertions")]

use std::io::Write;

/// Runs quiltd to its end: exit code, stdout, stderr.
#[allow(clippy::disallowed_methods, reason = "the daemon under test is a program")]
fn quiltd(arguments: &[&str]) -> (i32, String, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_quiltd")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn check(config: &str) -> (i32, String, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(config.as_bytes()).unwrap();
    quiltd(&["--check", "--config", file.path().to_str().unwrap()])
}

#[test]
fn version() {
    assert_eq!(quiltd(&["--version"]), (0, format!("quiltd {}\n", env!("CARGO_PKG_VERSION")), String::new()));
}

#[test]
fn an_unknown_argument_is_a_usage_error() {
    let (code, stdout, stderr) = quiltd(&["--serve"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.starts_with("usage: quiltd"), "{stderr}");
}

#[test]
fn a_good_configuration_can_be_used() {
    let (code, stdout, stderr) = check("[sandbox]\npool = 0\n[[policy]]\nname = 'a'\nkinds = ['kv']\n");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.ends_with("can be used\n"), "{stdout}");
}

#[test]
fn a_bad_configuration_is_named_with_its_key() {
    for (config, part) in [
        ("[sandbox]\nmemory_bytes = 1\n", "memory_bytes"),
        ("[sandbox]\nuid_base = 0\n", "uid_base"),
        ("[[policy]]\nname = 'a'\ntokens = ['kv:../x:rw']\n", "not a path"),
        ("nonsense", "parse"),
    ] {
        let (code, stdout, stderr) = check(config);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        assert!(stderr.starts_with("quiltd: configuration: ") && stderr.contains(part), "{stderr}");
    }
    let (code, _, stderr) = quiltd(&["--check", "--config", "/no/such/file"]);
    assert!(code == 1 && stderr.contains("/no/such/file") && stderr.contains("No such file"), "{stderr}");
}
