//! What a program in a cage has on its descriptors, and what its caller learns of it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "in a test they are assertions")]

mod stand;

use std::time::{Duration, Instant};

use aria_protocol::quilt::v1 as pb;
use pb::EndReason;
use pb::execute_response::Event;
use pb::feed_request::Input;
use stand::{Stand, collect, start};
use tokio_stream::wrappers::ReceiverStream;

#[tokio::test]
async fn hello() {
    let Some(stand) = start("").await else { return };
    let run = stand.run(stand.script("console.log('hello'); console.error('beside')")).await;
    assert_eq!((run.text().as_str(), run.stderr.as_slice()), ("hello\n", b"beside\n".as_slice()));
    assert_eq!((run.ended.reason(), run.ended.exit_code), (EndReason::Exited, 0));
    let usage = run.ended.usage.unwrap();
    assert_eq!((usage.stdout_bytes, usage.stderr_bytes), (6, 7));
    assert!(usage.memory_peak_bytes > 1 << 20 && usage.cpu_ms > 0 && usage.wall_ms > 0, "{usage:?}");
}

#[tokio::test]
async fn the_environment_is_ours_and_what_was_added() {
    let Some(stand) = start("").await else { return };
    let mut request = stand.script("console.log(JSON.stringify([process.env, process.argv.slice(2), process.cwd()]))");
    let program = request.program.as_mut().unwrap();
    program.env = [("GREETING".to_owned(), "hei \"you\"\n".to_owned())].into();
    program.argv.extend(["a b".to_owned(), String::new(), "ü".to_owned()]);
    let run = stand.run(request).await;
    let text = run.text();
    assert!(text.contains(r#""GREETING":"hei \"you\"\n""#) && text.contains(r#"["a b","","ü"],"/tmp""#), "{text}");
    for ours in ["HOME", "PATH", "TMPDIR", "LANG", "TZ", "BUN_RUNTIME_TRANSPILER_CACHE_PATH"] {
        assert!(text.contains(&format!("\"{ours}\"")), "{ours} is missing in {text}");
    }
    assert_eq!(text.matches("\":\"").count(), 7, "{text}");
}

#[tokio::test]
async fn exit_codes_and_signals_are_exact() {
    let Some(stand) = start("").await else { return };
    for code in [0, 1, 2, 42, 126, 127, 128, 137, 255] {
        let run = stand.run(stand.script(&format!("process.exit({code})"))).await;
        assert_eq!((run.ended.reason(), run.ended.exit_code), (EndReason::Exited, code));
    }
    for signal in [1, 6, 9, 15] {
        let run = stand
            .run(stand.script(&format!("process.kill(process.pid, {signal}); setTimeout(() => {{}}, 5000)")))
            .await;
        // A handler of the runtime may turn some signals into an exit code; the number is never lost.
        let seen = (run.ended.reason(), run.ended.signal, run.ended.exit_code);
        let expected = [(EndReason::Signalled, signal, 0), (EndReason::Exited, 0, 128 + signal)];
        assert!(expected.contains(&seen), "signal {signal}: {seen:?}");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_ends_or_is_refused_clearly() {
    let Some(stand) = start("").await else { return };
    let mut request = stand.script("");
    request.program.as_mut().unwrap().argv = vec!["/bin/nothing".into()];
    let (code, reason, message) = stand.refusal(request).await;
    assert!(["SPEC_INVALID", "SANDBOX_STEP"].contains(&reason.as_str()), "{code:?} {reason} {message}");
    assert!(!message.is_empty());
    assert_eq!(stand.status().await.leases, []);
}

#[tokio::test]
async fn both_streams_arrive_whole_and_each_in_order() {
    let Some(stand) = start("").await else { return };
    let source = "import { writeSync } from 'node:fs';
        const write = (fd, text) => { for (let at = 0; at < text.length;) try { at += writeSync(fd, text.slice(at)); } catch (e) { if (e.code !== 'EAGAIN') throw e; } };
        for (let n = 0; n < 5000; n++) write(1 + n % 2, n + '\\n');";
    let run = stand.run(stand.script(source)).await;
    let expected = |rest| (0..5000).filter(|n| n % 2 == rest).map(|n| format!("{n}\n")).collect::<String>();
    assert_eq!(run.text(), expected(0));
    assert_eq!(String::from_utf8_lossy(&run.stderr), expected(1));
}

#[tokio::test]
async fn bytes_are_bytes() {
    let Some(stand) = start("").await else { return };
    let run = stand.run(stand.script("process.stdout.write(Buffer.from([0, 255, 27, 91, 195, 10, 13, 0]))")).await;
    assert_eq!(run.stdout, [0, 255, 27, 91, 195, 10, 13, 0]);
}

/// Sends `pieces` of 64 KiB each, then the end; returns what Feed answered.
fn feed(stand: &Stand, execution_id: String, pieces: usize) -> tokio::task::JoinHandle<Result<u64, tonic::Status>> {
    let mut client = stand.client();
    tokio::spawn(async move {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let pump = async move {
            for piece in 0..=pieces {
                let input = if piece < pieces {
                    Input::Stdin(vec![u8::try_from(piece % 251).unwrap(); 65_536])
                } else {
                    Input::CloseStdin(true)
                };
                let request = pb::FeedRequest { execution_id: execution_id.clone(), input: Some(input) };
                if sender.send(request).await.is_err() {
                    return;
                }
            }
        };
        let (answer, ()) = tokio::join!(client.feed(ReceiverStream::new(receiver)), pump);
        answer.map(|answer| answer.into_inner().bytes)
    })
}

#[tokio::test]
async fn five_mebibytes_of_stdin_come_back() {
    let Some(stand) = start("").await else { return };
    let source = "for await (const chunk of Bun.stdin.stream()) { await Bun.write(Bun.stdout, chunk); }";
    let mut request = stand.script(source);
    request.program.as_mut().unwrap().stdin = true;
    let id = request.execution_id.clone();
    let stream = stand.client().execute(request).await.unwrap().into_inner();
    let fed = feed(&stand, id, 80);
    let run = collect(stream).await.unwrap();
    assert_eq!(run.ended.reason(), EndReason::Exited);
    assert_eq!(run.stdout.len(), 80 * 65_536);
    assert!(
        run.stdout
            .chunks(65_536)
            .enumerate()
            .all(|(piece, bytes)| bytes.iter().all(|byte| usize::from(*byte) == piece % 251))
    );
    assert_eq!(fed.await.unwrap().unwrap(), 80 * 65_536);
}

#[tokio::test]
async fn a_program_that_does_not_read_holds_up_its_feeder_only() {
    let Some(stand) = start("").await else { return };
    let mut request = stand.script("console.log('up'); await Bun.sleep(1500); console.log('done')");
    request.program.as_mut().unwrap().stdin = true;
    let id = request.execution_id.clone();
    let stream = stand.client().execute(request).await.unwrap().into_inner();
    let before = stand.rss();
    let fed = feed(&stand, id, 1600);
    let run = collect(stream).await.unwrap();
    assert_eq!(run.text(), "up\ndone\n");
    let bytes = fed.await.unwrap().unwrap();
    assert!(bytes < 4 << 20, "{bytes} bytes were taken for a program that read nothing");
    assert!(stand.rss() < before + (24 << 20), "{} → {}", before, stand.rss());
}

#[tokio::test]
async fn a_closed_stdin_is_no_error() {
    let Some(stand) = start("").await else { return };
    let mut request =
        stand.script("import { closeSync } from 'node:fs'; closeSync(0); await Bun.sleep(300); console.log('fine')");
    request.program.as_mut().unwrap().stdin = true;
    let id = request.execution_id.clone();
    let stream = stand.client().execute(request).await.unwrap().into_inner();
    let fed = feed(&stand, id, 64);
    let run = collect(stream).await.unwrap();
    assert_eq!((run.text().as_str(), run.ended.reason()), ("fine\n", EndReason::Exited));
    fed.await.unwrap().unwrap();
}

#[tokio::test]
async fn without_stdin_it_is_at_its_end_and_cannot_be_fed() {
    let Some(stand) = start("").await else { return };
    let request = stand.script("console.log((await Bun.stdin.text()).length); await Bun.sleep(1000)");
    let id = request.execution_id.clone();
    let stream = stand.client().execute(request).await.unwrap().into_inner();
    let refused = feed(&stand, id, 1).await.unwrap().unwrap_err();
    assert_eq!(stand::reason(&refused), "SPEC_INVALID");
    assert_eq!(collect(stream).await.unwrap().text(), "0\n");
}

#[tokio::test]
async fn feeding_what_does_not_run_is_refused() {
    let Some(stand) = start("").await else { return };
    let unknown = feed(&stand, stand::execution_id(), 1).await.unwrap().unwrap_err();
    assert_eq!((unknown.code(), stand::reason(&unknown).as_str()), (tonic::Code::NotFound, "EXECUTION_UNKNOWN"));
    let malformed = feed(&stand, "../x".into(), 1).await.unwrap().unwrap_err();
    assert_eq!(stand::reason(&malformed), "SPEC_INVALID");
}

/// Reads and writes frames on descriptor 3.
const DOOR: &str = "
    import { readSync, writeSync } from 'node:fs';
    const sleep = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    const io = (call, bytes) => { for (let at = 0; at < bytes.length;) try { const n = call(3, bytes, at, bytes.length - at); if (n === 0) return false; at += n; } catch (e) { if (e.code !== 'EAGAIN') throw e; sleep(); } return true; };
    const send = (bytes) => { const all = Buffer.alloc(4 + bytes.length); all.writeUInt32LE(bytes.length); Buffer.from(bytes).copy(all, 4); return io(writeSync, all); };
    const receive = () => { const head = Buffer.alloc(4); if (!io(readSync, head)) return null; const body = Buffer.alloc(head.readUInt32LE()); return io(readSync, body) ? body : null; };
";

fn door(stand: &Stand, source: &str, frames: Vec<Vec<u8>>) -> pb::ExecuteRequest {
    let mut request = stand.script(&format!("{DOOR}\n{source}"));
    let program = request.program.as_mut().unwrap();
    program.guest_door = true;
    program.door_frames = frames;
    request
}

#[tokio::test]
async fn frames_pass_through_uninterpreted() {
    let Some(stand) = start("").await else { return };
    let frames = vec![b"{\"first\":1}".to_vec(), Vec::new(), vec![0xff; 1 << 20]];
    let run = stand
        .run(door(
            &stand,
            "for (let n = 0; n < 3; n++) send(receive()); send('result'); send('result')",
            frames.clone(),
        ))
        .await;
    assert_eq!(run.frames[..3], frames);
    assert_eq!(run.frames[3..], [b"result".to_vec(), b"result".to_vec()]);
    assert_eq!((run.ended.reason(), run.ended.exit_code), (EndReason::Exited, 0));
}

#[tokio::test]
async fn frames_can_be_fed_while_it_runs() {
    let Some(stand) = start("").await else { return };
    let request = door(&stand, "send('ready'); send(receive())", vec![]);
    let id = request.execution_id.clone();
    let mut stream = stand.client().execute(request).await.unwrap().into_inner();
    let frame = loop {
        if let Some(Event::GuestFrame(frame)) = stream.message().await.unwrap().unwrap().event {
            break frame;
        }
    };
    assert_eq!(frame, b"ready");
    let input = pb::FeedRequest { execution_id: id, input: Some(Input::DoorFrame(b"late".to_vec())) };
    stand.client().feed(tokio_stream::once(input)).await.unwrap();
    let answer = stream.message().await.unwrap().unwrap().event;
    assert_eq!(answer, Some(Event::GuestFrame(b"late".to_vec())));
}

#[tokio::test]
async fn an_oversized_frame_ends_the_program() {
    let Some(stand) = start("").await else { return };
    let run = stand
        .run(door(&stand, "send('first'); send(Buffer.alloc((1 << 20) + 1)); await Bun.sleep(60000)", vec![]))
        .await;
    assert_eq!(run.ended.reason(), EndReason::OutputTooLarge);
    assert!(run.ended.detail.contains("1048577"), "{}", run.ended.detail);
    assert_eq!(run.frames, [b"first".to_vec()]);
}

#[tokio::test]
async fn bytes_without_framing_end_the_program() {
    let Some(stand) = start("").await else { return };
    let run = stand.run(door(&stand, "writeSync(3, '{\"result\":1}'); await Bun.sleep(60000)", vec![])).await;
    assert_eq!((run.ended.reason(), run.frames.len()), (EndReason::OutputTooLarge, 0));
}

#[tokio::test]
async fn a_frame_that_was_cut_is_dropped_and_said() {
    let Some(stand) = start("").await else { return };
    let run = stand.run(door(&stand, "send('whole'); writeSync(3, Buffer.from([9, 0, 0, 0, 1]))", vec![])).await;
    assert_eq!(run.frames, [b"whole".to_vec()]);
    assert_eq!((run.ended.reason(), run.ended.exit_code), (EndReason::Exited, 0));
    assert!(run.ended.detail.contains("into a frame"), "{:?}", run.ended.detail);
}

#[tokio::test]
async fn a_flood_on_stdout_does_not_hold_up_frames() {
    let Some(stand) = start("").await else { return };
    let source = "const big = Buffer.alloc(65536, 'x'); let n = 0;
        const flood = async () => { for (;;) { await Bun.write(Bun.stdout, big); if (++n === 50) send('in the middle'); } }; await flood();";
    let mut request = door(&stand, source, vec![]);
    request.limits = Some(pb::Limits { output_bytes: 2_000_000_000, wall_ms: 20_000, ..Default::default() });
    let mut stream = stand.client().execute(request).await.unwrap().into_inner();
    let begun = Instant::now();
    let mut output = 0;
    loop {
        match stream.message().await.unwrap().unwrap().event.unwrap() {
            Event::Output(piece) => output += piece.data.len(),
            Event::GuestFrame(frame) => break assert_eq!(frame, b"in the middle"),
            Event::Ended(ended) => panic!("{ended:?}"),
            _ => {}
        }
    }
    assert!(output < 16 << 20 && begun.elapsed() < Duration::from_secs(10), "{output} bytes, {:?}", begun.elapsed());
}

#[tokio::test]
async fn files_in_and_out() {
    let Some(stand) = start("").await else { return };
    let source = "import { readFileSync, writeFileSync } from 'node:fs';
        writeFileSync('/out/copy', readFileSync('/in/data.bin')); writeFileSync('/out/empty', '');
        let refused; try { writeFileSync('/in/data.bin', 'x'); } catch (e) { refused = e.code; } console.log(refused);";
    let mut request = stand.script(source);
    let data: Vec<u8> = (0..200_000_u32).map(|n| (n % 253) as u8).collect();
    let path = stand.dir.path().join("code/data");
    std::fs::write(&path, &data).unwrap();
    let program = request.program.as_mut().unwrap();
    program.files = vec![pb::InputFile { name: "data.bin".into(), path: path.to_str().unwrap().into() }];
    program.collect_out = true;
    let mut run = stand.run(request).await;
    run.files.sort();
    assert_eq!(run.files, [("copy".to_owned(), data), ("empty".to_owned(), vec![])], "{:?}", run.ended);
    assert!(["EROFS\n", "EACCES\n"].contains(&run.text().as_str()), "{}", run.text());
}

#[tokio::test]
async fn without_collect_out_nothing_comes_back() {
    let Some(stand) = start("").await else { return };
    let source = "import { writeFileSync } from 'node:fs'; try { writeFileSync('/out/x', 'y'); } catch (e) { console.log(e.code); }";
    let run = stand.run(stand.script(source)).await;
    assert_eq!(run.files, []);
    assert_ne!(run.text(), "");
}

#[tokio::test]
async fn only_regular_files_come_back_from_out() {
    let Some(stand) = start("").await else { return };
    let source = "import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
        symlinkSync('/etc/passwd', '/out/link'); mkdirSync('/out/directory'); writeFileSync('/out/directory/x', 'y');
        writeFileSync('/out/plain', 'z'); console.log('made');";
    let mut request = stand.script(source);
    request.program.as_mut().unwrap().collect_out = true;
    let run = stand.run(request).await;
    assert_eq!(run.text(), "made\n", "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(run.files, [("plain".to_owned(), b"z".to_vec())], "{:?}", run.ended);
}

#[tokio::test]
async fn too_many_files_in_out_are_not_a_success() {
    let Some(stand) = start("").await else { return };
    let source =
        "import { writeFileSync } from 'node:fs'; for (let n = 0; n < COUNT; n++) writeFileSync('/out/' + n, 'x');";
    for (count, reason) in [(1000, EndReason::Exited), (1001, EndReason::OutputTooLarge)] {
        let mut request = stand.script(&source.replace("COUNT", &count.to_string()));
        request.program.as_mut().unwrap().collect_out = true;
        let run = stand.run(request).await;
        assert_eq!((run.ended.reason(), run.ended.exit_code), (reason, 0), "{:?}", run.ended);
        assert_eq!(run.files.len(), if reason == EndReason::Exited { 1000 } else { 0 });
    }
}

#[tokio::test]
async fn a_file_with_a_name_nobody_can_show_is_lost_output() {
    let Some(stand) = start("").await else { return };
    for name in ["'/out/a\\nb'", "'/out/\\x1b[2J'", "Buffer.from([0x2f, 0x6f, 0x75, 0x74, 0x2f, 0xff])"] {
        let source = format!("import {{ writeFileSync }} from 'node:fs'; writeFileSync({name}, 'x');");
        let mut request = stand.script(&source);
        request.program.as_mut().unwrap().collect_out = true;
        let run = stand.run(request).await;
        assert_eq!((run.ended.reason(), run.files.len()), (EndReason::OutputTooLarge, 0), "{name}: {:?}", run.ended);
        let detail = &run.ended.detail;
        assert!(detail.contains("name") && !detail.chars().any(char::is_control), "{detail:?}");
    }
}
