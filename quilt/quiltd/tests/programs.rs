//! What a program in a cage sees of its descriptors, and what its caller learns of it.

mod stand;

use aria_protocol::quilt::v1 as pb;
use pb::EndReason;
use pb::feed_request::Input;
use stand::start;
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
