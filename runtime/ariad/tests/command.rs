//! The command line, the configuration, and starting twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it found by failing"
)]

mod support;

use support::{Daemon, ariad, configure};

#[track_caller]
fn check(arguments: &[&str], code: i32, said: &str) {
    let output = ariad().args(arguments).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(said), "{text}");
}

#[test]
fn it_says_what_it_is_and_how_to_use_it() {
    check(&["--version"], 0, "ariad 0.1.0");
    check(&["--help"], 0, "--ready-file");
    check(&[], 2, "--config is missing");
    check(&["--config", "/nowhere/aria.toml"], 2, "read configuration");
    check(&["--frobnicate"], 2, "unknown argument");
}

#[test]
fn check_reads_the_configuration_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |extra: &str| configure(dir.path(), extra).display().to_string();
    check(&["--check", "--config", &path("")], 0, "ok");
    check(&["--check", "--config", &path("colour = 1")], 2, "colour");
    check(&["--check", "--config", &path("listen_twice = true")], 2, "listen_twice");
    check(&["--check", "--config", &path("[nothing]")], 2, "nothing");
    assert_eq!(std::fs::read_dir(dir.path().join("data")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_second_daemon_on_the_same_data_is_refused() {
    let daemon = Daemon::start().await;
    let config = daemon.dir.path().join("aria.toml").display().to_string();
    let output = ariad().args(["--config", &config]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use"), "{output:?}");
    assert_eq!(
        daemon.local().await.node.get_node(aria_protocol::aria::v1::GetNodeRequest {}).await.unwrap().into_inner().role,
        "admin"
    );
}

#[tokio::test]
async fn keys_are_private() {
    let daemon = Daemon::start().await;
    let mode = |path: &str| {
        let found = std::fs::metadata(daemon.data().join(path)).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777
    };
    assert_eq!(mode("identity/ca.pem"), 0o600);
    assert_eq!(mode("identity"), 0o700);
}

#[tokio::test]
async fn a_socket_left_by_a_crash_is_replaced() {
    let mut daemon = Daemon::start().await;
    daemon.kill();
    assert!(daemon.dir.path().join("api.sock").exists());
    daemon.again().await;
    assert!(daemon.local().await.node.get_node(aria_protocol::aria::v1::GetNodeRequest {}).await.is_ok());
}

#[tokio::test]
async fn it_needs_no_privilege() {
    let dir = tempfile::tempdir().unwrap();
    support::permit(dir.path(), 0o755);
    let program = dir.path().join("ariad");
    std::fs::copy(env!("CARGO_BIN_EXE_ariad"), &program).unwrap();
    let own = dir.path().join("own");
    std::fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(54_322), Some(54_322)).unwrap();
    let config = configure(&own, "");
    std::os::unix::fs::chown(own.join("data"), Some(54_322), Some(54_322)).unwrap();
    let ready_file = own.join("ready.json");
    let mut child = support::program_as(&program, 54_322);
    let mut child = child.arg("--config").arg(config).arg("--ready-file").arg(&ready_file).spawn().unwrap();
    support::until("it is ready", || ready_file.exists()).await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
}
