//! The Unix socket: one engine per path, stale sockets removed, and only root and the configured peer let in.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Socket;

/// Accepted connections that wait for the server.
const ACCEPTED_MAX: usize = 16;
/// Pause after an accept that failed, mostly for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("another engine serves {path:?}")]
    InUse { path: PathBuf },
    #[error("{path:?} exists and is not a socket")]
    NotASocket { path: PathBuf },
    #[error("{action} {path:?}")]
    Step {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

fn step(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    let path = path.to_owned();
    move |source| SocketError::Step { action, path, source }
}

/// Proof that this process is the only engine of its socket; held until the end.
#[derive(Debug)]
pub(crate) struct InstanceLock {
    _lock: Flock<File>,
}

/// Takes the lock beside the socket, making its directory if need be.
pub(crate) fn lock(socket: &Socket) -> Result<InstanceLock, SocketError> {
    if let Some(dir) = socket.path.parent() {
        fs::create_dir_all(dir).map_err(step("create", dir))?;
    }
    let mut path = socket.path.clone().into_os_string();
    path.push(".lock");
    let path = PathBuf::from(path);
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    let file = options.open(&path).map_err(step("open", &path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(InstanceLock { _lock: lock }),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(SocketError::InUse { path: socket.path.clone() }),
        Err((_, errno)) => Err(step("lock", &path)(errno.into())),
    }
}

/// Listens. `_lock` is the proof that whatever lies at the path is stale.
pub(crate) fn listen(socket: &Socket, _lock: &InstanceLock) -> Result<UnixListener, SocketError> {
    let path = &socket.path;
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(step("remove", path))?,
        Ok(_) => return Err(SocketError::NotASocket { path: path.clone() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(step("look at", path)(error)),
    }
    // Connecting needs the right to write, which our umask gives to root alone until the mode is set below.
    let listener = UnixListener::bind(path).map_err(step("bind", path))?;
    chown(path, Some(0), Some(socket.gid)).map_err(step("chown", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(step("chmod", path))?;
    Ok(listener)
}

/// Who may call: root, and the one uid or gid the operator named. The mode of the socket says the same; this holds even if
/// somebody changes the mode, or passes a connected socket on.
fn allowed(socket: &Socket, uid: u32, gid: u32) -> bool {
    uid == 0 || socket.uid == Some(uid) || (socket.gid != 0 && gid == socket.gid)
}

/// Accepts until `stop`; strangers are disconnected before they can say a word.
pub(crate) async fn accept(
    listener: UnixListener,
    socket: Socket,
    stop: CancellationToken,
    accepted: mpsc::Sender<io::Result<UnixStream>>,
) {
    loop {
        let connection = tokio::select! {
            () = stop.cancelled() => return,
            connection = listener.accept() => connection,
        };
        match connection.and_then(|(stream, _)| stream.peer_cred().map(|peer| (stream, peer))) {
            Ok((stream, peer)) if allowed(&socket, peer.uid(), peer.gid()) => {
                if accepted.send(Ok(stream)).await.is_err() {
                    return;
                }
            }
            Ok((_, peer)) => tracing::warn!(uid = peer.uid(), gid = peer.gid(), "peer refused"),
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A channel for [`accept`].
pub(crate) fn queue() -> (mpsc::Sender<io::Result<UnixStream>>, mpsc::Receiver<io::Result<UnixStream>>) {
    mpsc::channel(ACCEPTED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(dir: &tempfile::TempDir) -> Socket {
        Socket { path: dir.path().join("run/api.sock"), gid: 0, uid: None }
    }

    #[test]
    fn one_engine_per_socket() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(&socket(&dir)).unwrap();
        assert!(matches!(lock(&socket(&dir)), Err(SocketError::InUse { .. })));
        drop(held);
        lock(&socket(&dir)).unwrap();
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_anything_else_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let socket = socket(&dir);
        let held = lock(&socket).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&socket.path).unwrap());
        if nix::unistd::geteuid().is_root() {
            drop(listen(&socket, &held).unwrap());
            assert_eq!(fs::metadata(&socket.path).unwrap().permissions().mode() & 0o777, 0o660);
        } else {
            println!("skipped: listening needs root");
        }
        fs::remove_file(&socket.path).unwrap();
        fs::write(&socket.path, "precious").unwrap();
        assert!(matches!(listen(&socket, &held), Err(SocketError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&socket.path).unwrap(), "precious");
    }

    #[test]
    fn only_root_and_the_named_peer() {
        let socket = Socket { path: "/x".into(), gid: 7600, uid: Some(500) };
        assert!(allowed(&socket, 0, 0) && allowed(&socket, 500, 1) && allowed(&socket, 1, 7600));
        assert!(!allowed(&socket, 1000, 1000) && !allowed(&socket, 1000, 0));
        let root_only = Socket { path: "/x".into(), gid: 0, uid: None };
        assert!(!allowed(&root_only, 1000, 0));
    }
}
