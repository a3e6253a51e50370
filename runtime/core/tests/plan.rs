//! From a call to the exact program that runs.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use aria_core::bundle::Builder;
use aria_core::plan::{
    ARGS_BYTES_MAX, ARGS_MAX, DeviceLimits, FILES_MAX, InputFile, PlanError, ProgramCall, ToolCall, is_file_name,
    plan_program, plan_tool,
};
use aria_core::port::{Limits, Profile};
use aria_core::{Annotations, Approval, InvocationId, Manifest, Name, Program, Tool, ToolLimits, ToolName};
use aria_types::{ErrorKind, ResourceToken};
use serde_json::json;

const DEVICE: DeviceLimits = DeviceLimits {
    default: Limits {
        memory_bytes: 256,
        pids: 64,
        cpu_millis: 1000,
        disk_bytes: 100,
        wall_ms: 30_000,
        output_bytes: 500,
    },
    max: Limits {
        memory_bytes: 1024,
        pids: 128,
        cpu_millis: 2000,
        disk_bytes: 200,
        wall_ms: 60_000,
        output_bytes: 1000,
    },
};

fn name(text: &str) -> Name {
    Name::parse(text).expect("name")
}

fn tool() -> Tool {
    Tool {
        name: name("forecast"),
        title: String::new(),
        description: String::new(),
        input: json!({}),
        output: json!({}),
        annotations: Annotations::default(),
        tokens: ["kv:orders:rw", "kv:a:ro", "kv:orders:rw"]
            .map(|text| ResourceToken::parse(text).expect("token"))
            .into(),
        egress: vec![],
        secrets: vec![],
        limits: ToolLimits { memory_bytes: Some(512), pids: Some(1000), ..ToolLimits::default() },
        timeout_ms: 10_000,
        approval: Approval::Never,
        spawn: false,
        jit: true,
        entry: "code/forecast.js".into(),
    }
}

fn id() -> InvocationId {
    InvocationId::from_random([7; 16])
}

static TOOL_NAME: std::sync::LazyLock<ToolName> =
    std::sync::LazyLock::new(|| ToolName::parse("weather.forecast").expect("tool name"));

fn call<'a>(invocation: &'a InvocationId, tool: &'a Tool, input_json: &'a str) -> ToolCall<'a> {
    let code_dir = PathBuf::from("/data/bundles/x/app");
    let name = &TOOL_NAME;
    ToolCall {
        invocation,
        owner: "ann",
        name,
        tool,
        parent: None,
        code_dir,
        input_json,
        files: vec![],
        timeout_ms: 0,
        shelf: None,
    }
}

fn manifest() -> Manifest {
    Manifest {
        name: name("probe"),
        version: "0.0.0".parse().expect("version"),
        description: String::new(),
        authors: vec![],
        license: String::new(),
        engine: "*".parse().expect("range"),
        tools: vec![],
        composites: vec![],
        program: Some(Program { entry: "code/main.js".into() }),
        source: None,
        dependencies: vec![],
        builder: Some(Builder { name: "arc".into(), version: "0.1.0".into() }),
        files: vec![],
    }
}

fn program<'a>(invocation: &'a InvocationId, manifest: &'a Manifest) -> ProgramCall<'a> {
    ProgramCall {
        invocation,
        owner: "ann",
        manifest,
        code_dir: PathBuf::from("/data/staging/x/app"),
        args: vec!["--flag".into(), String::new(), "ü".into()],
        env: BTreeMap::from([("KEY".into(), "value".into())]),
        tokens: vec!["kv:orders".into()],
        limits: Limits::default(),
        profile: Profile::Tool,
        files: vec![],
        session: None,
    }
}

fn file(name: &str) -> InputFile {
    InputFile { name: name.into(), path: "/data/blobs/00".into() }
}

#[test]
fn a_tool_call_becomes_the_harness_with_one_frame() {
    let (id, tool) = (id(), tool());
    let planned = plan_tool(call(&id, &tool, "{\"city\":\"Oslo\"}"), &DEVICE).expect("plan");
    let argv = [
        "/bin/bun",
        "--no-install",
        "--env-file=/dev/null",
        "--config=/dev/null",
        "--no-orphans",
        "/lib/aria/harness.js",
    ];
    assert_eq!(planned.argv, argv);
    assert!(planned.env.is_empty() && planned.collect_out);
    assert_eq!((planned.execution_id.as_str(), planned.owner.as_str()), (id.as_str(), "ann"));
    assert_eq!((planned.subject.as_str(), planned.parent_execution_id.as_deref()), ("tool:weather.forecast", None));
    assert_eq!(planned.tokens, ["kv:a:ro", "kv:orders:rw"]);
    assert_eq!(planned.code_dir, Some("/data/bundles/x/app".into()));
    let frames = planned.door_frames.expect("a door");
    let frame: serde_json::Value = serde_json::from_slice(&frames[0]).expect("json");
    let invoke =
        json!({"invocationId": id.as_str(), "module": "/app/code/forecast.js", "inputJson": "{\"city\":\"Oslo\"}"});
    assert_eq!((frames.len(), frame), (1, json!({ "invoke": invoke })));
}

#[test]
fn a_child_names_its_parent() {
    let (id, parent, tool) = (id(), InvocationId::from_random([9; 16]), tool());
    let planned = plan_tool(ToolCall { parent: Some(&parent), ..call(&id, &tool, "{}") }, &DEVICE).expect("plan");
    assert_eq!(planned.parent_execution_id.as_deref(), Some(parent.as_str()));
}

#[test]
fn only_a_tool_that_says_so_may_spawn() {
    let id = id();
    let profile = |spawn| plan_tool(call(&id, &Tool { spawn, ..tool() }, "{}"), &DEVICE).map(|planned| planned.profile);
    assert_eq!((profile(false), profile(true)), (Ok(Profile::ToolNoexec), Ok(Profile::Tool)));
}

#[test]
fn a_tool_that_gives_up_machine_code_makes_none() {
    let planned = plan_tool(call(&id(), &Tool { jit: false, ..tool() }, "{}"), &DEVICE).expect("plan");
    assert_eq!(planned.profile, Profile::ToolNojit);
}

#[test]
fn a_tool_gets_what_it_asks_for_up_to_the_device() {
    let (id, tool) = (id(), tool());
    let planned = plan_tool(call(&id, &tool, "{}"), &DEVICE).expect("plan");
    let expected =
        Limits { memory_bytes: 512, pids: 128, cpu_millis: 1000, disk_bytes: 100, wall_ms: 10_000, output_bytes: 500 };
    assert_eq!(planned.limits, expected);
}

#[test]
fn a_caller_can_only_shorten_the_timeout() {
    let id = id();
    let wall = |asked, own| {
        let tool = Tool { timeout_ms: own, ..tool() };
        plan_tool(ToolCall { timeout_ms: asked, ..call(&id, &tool, "{}") }, &DEVICE).expect("plan").limits.wall_ms
    };
    assert_eq!(
        [wall(0, 10_000), wall(500, 10_000), wall(50_000, 10_000), wall(0, 90_000)],
        [10_000, 500, 10_000, 60_000]
    );
}

#[track_caller]
fn refused(answer: Result<impl std::fmt::Debug, PlanError>, reason: &str) {
    let error = answer.expect_err(reason);
    assert_eq!((error.reason(), error.kind()), (reason, ErrorKind::Invalid));
}

#[test]
fn input_is_bounded_as_text_and_as_frame() {
    let (id, tool) = (id(), tool());
    refused(plan_tool(call(&id, &tool, &" ".repeat((1 << 20) + 1)), &DEVICE), "INPUT_TOO_LARGE");
    // Each quote takes two bytes in the frame.
    refused(plan_tool(call(&id, &tool, &"\"".repeat(600_000)), &DEVICE), "INPUT_TOO_LARGE");
    assert!(plan_tool(call(&id, &tool, &" ".repeat(1_000_000)), &DEVICE).is_ok());
}

#[test]
fn file_names_are_names() {
    let (id, tool) = (id(), tool());
    let with = |files| plan_tool(ToolCall { files, ..call(&id, &tool, "{}") }, &DEVICE);
    for bad in ["", ".", "..", "a/b", "/a", "a\0", "a\n", &"x".repeat(256)] {
        refused(with(vec![file(bad)]), "FILE_NAME");
        assert!(!is_file_name(bad));
    }
    refused(with(vec![file("a"), file("b"), file("a")]), "FILE_NAME");
    refused(with((0..=FILES_MAX).map(|number| file(&number.to_string())).collect()), "FILE_NAME");
    let good = with(vec![file("data.csv"), file("...")]).expect("plan");
    assert_eq!(good.files[0], ("data.csv".to_owned(), PathBuf::from("/data/blobs/00")));
}

#[test]
fn a_program_becomes_bun_with_its_script_and_arguments() {
    let (id, manifest) = (id(), manifest());
    let planned = plan_program(program(&id, &manifest), &DEVICE).expect("plan");
    assert_eq!(planned.argv[4..], ["--no-orphans", "/app/code/main.js", "--flag", "", "ü"]);
    assert_eq!((planned.profile, planned.subject.as_str()), (Profile::Tool, "exec"));
    assert_eq!(
        (planned.env.get("KEY").map(String::as_str), planned.tokens),
        (Some("value"), vec!["kv:orders:ro".into()])
    );
    assert_eq!(planned.limits, DEVICE.default);
}

#[test]
fn only_a_program_with_tokens_has_a_door_and_is_told_so() {
    let (id, manifest) = (id(), manifest());
    let with = plan_program(program(&id, &manifest), &DEVICE).expect("plan");
    assert_eq!((with.door_frames, with.env.get("ARIA_DOOR").map(String::as_str)), (Some(vec![]), Some("3")));
    let without = plan_program(ProgramCall { tokens: vec![], ..program(&id, &manifest) }, &DEVICE).expect("plan");
    assert_eq!((without.door_frames, without.env.get("ARIA_DOOR")), (None, None));
    let forged = BTreeMap::from([("ARIA_DOOR".to_owned(), "1".to_owned())]);
    refused(plan_program(ProgramCall { env: forged, ..program(&id, &manifest) }, &DEVICE), "ENV_REFUSED");
}

#[test]
fn a_program_may_not_ask_for_more_than_the_device_allows() {
    let (id, manifest) = (id(), manifest());
    let asked = |limits| plan_program(ProgramCall { limits, ..program(&id, &manifest) }, &DEVICE);
    let more = |change: fn(&mut Limits)| {
        let mut limits = DEVICE.max;
        change(&mut limits);
        limits
    };
    assert_eq!(asked(DEVICE.max).expect("the maximum itself").limits, DEVICE.max);
    let changes: [fn(&mut Limits); 6] = [
        |limits| limits.memory_bytes += 1,
        |limits| limits.pids += 1,
        |limits| limits.cpu_millis += 1,
        |limits| limits.disk_bytes += 1,
        |limits| limits.wall_ms += 1,
        |limits| limits.output_bytes = u64::MAX,
    ];
    changes.into_iter().for_each(|change| refused(asked(more(change)), "LIMIT_TOO_LARGE"));
}

#[test]
fn a_program_call_is_checked_whole() {
    let (id, manifest) = (id(), manifest());
    let env = |name: &str| BTreeMap::from([(name.to_owned(), String::new())]);
    refused(plan_program(ProgramCall { env: env("LD_PRELOAD"), ..program(&id, &manifest) }, &DEVICE), "ENV_REFUSED");
    refused(
        plan_program(ProgramCall { tokens: vec!["kv:*".into()], ..program(&id, &manifest) }, &DEVICE),
        "TOKEN_SYNTAX",
    );
    refused(plan_program(ProgramCall { files: vec![file("..")], ..program(&id, &manifest) }, &DEVICE), "FILE_NAME");
    for args in [vec!["a\0b".to_owned()], vec![String::new(); ARGS_MAX + 1], vec!["x".repeat(ARGS_BYTES_MAX)]] {
        refused(plan_program(ProgramCall { args, ..program(&id, &manifest) }, &DEVICE), "ARGS_INVALID");
    }
    let tools = Manifest { program: None, ..manifest.clone() };
    refused(plan_program(program(&id, &tools), &DEVICE), "PROGRAM_MISSING");
}

#[test]
fn a_tool_that_wants_a_person_asked_does_not_run() {
    let id = id();
    for approval in [Approval::Always, Approval::Policy] {
        let tool = Tool { approval, ..tool() };
        let error = plan_tool(call(&id, &tool, "{}"), &DEVICE).expect_err("refused");
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, "APPROVAL_REQUIRED"));
        assert!(error.to_string().contains(approval.as_str()), "{error}");
    }
}

#[test]
fn a_tool_call_may_be_served_by_a_cage_that_was_made_before_it() {
    let (id, tool) = (InvocationId::from_random([7; 16]), tool());
    let planned = plan_tool(call(&id, &tool, "{}"), &DEVICE).expect("plan").warm.expect("warm");
    assert_eq!((planned.prepare.as_slice(), planned.shelf), (&br#"{"prepare":{}}"#[..], None));
    let hot = ToolCall { shelf: Some("k".into()), ..call(&id, &tool, "{}") };
    let shelf = plan_tool(hot, &DEVICE).expect("plan").warm.expect("warm").shelf.expect("a shelf");
    let expected = format!(r#"{{"prepare":{{"module":"/app/{}"}}}}"#, tool.entry);
    assert_eq!((shelf.key.as_str(), shelf.prepare), ("k", expected.into_bytes()));
}
