//! Files a run left in `/out`, and what it changed in its session, become blobs of its owner.

use std::sync::Arc;

use aria_core::FileRef;
use aria_core::plan::is_file_name;
use aria_core::port::ChangeCounts;
use aria_store::BlobWriter;

use crate::error::InvokeError;
use crate::event::SessionChanges;
use crate::{Inner, blocking};

/// Most files one run may leave.
const FILES_MAX: usize = 256;

/// Takes files one after the other.
#[derive(Default)]
pub(crate) struct Collector {
    taken: Taken,
    open: Option<Open>,
    bytes: u64,
}

/// Everything a run left.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) files: Vec<FileRef>,
    pub(crate) session: Option<SessionChanges>,
}

struct Open {
    what: What,
    left: u64,
    writer: BlobWriter,
}

/// What the bytes that come are.
enum What {
    /// A file of this name.
    File(String),
    /// The changes in a session.
    Changes(ChangeCounts),
}

/// Why a run's files cannot be taken.
pub(crate) enum CollectError {
    /// The program left more than it may.
    TooMuch(String),
    /// The device cannot keep them.
    Device(InvokeError),
}

impl Collector {
    /// The next file.
    pub(crate) async fn begin(
        &mut self,
        inner: &Arc<Inner>,
        owner: &str,
        name: String,
        size_bytes: u64,
        bytes_max: u64,
    ) -> Result<(), CollectError> {
        self.bytes = self.bytes.saturating_add(size_bytes);
        if self.taken.files.len() >= FILES_MAX {
            return Err(CollectError::TooMuch(format!("more than {FILES_MAX} files in /out")));
        }
        if self.bytes > bytes_max {
            return Err(CollectError::TooMuch(format!("more than {bytes_max} bytes in /out")));
        }
        if self.open.is_some() || !is_file_name(&name) {
            return Err(CollectError::Device(InvokeError::Bug {
                doing: "collect a file the engine should not have sent",
            }));
        }
        self.open(inner, owner, What::File(name), size_bytes).await
    }

    /// What the program changed in its session; without bytes it is only counted. The engine and the store bound its length.
    pub(crate) async fn changes(
        &mut self,
        inner: &Arc<Inner>,
        owner: &str,
        counts: ChangeCounts,
        size_bytes: u64,
    ) -> Result<(), CollectError> {
        if self.open.is_some() || self.taken.session.is_some() {
            return Err(CollectError::Device(InvokeError::Bug {
                doing: "collect changes the engine should not have sent",
            }));
        }
        if size_bytes == 0 {
            self.taken.session = Some(SessionChanges { counts, changes: None });
            return Ok(());
        }
        self.open(inner, owner, What::Changes(counts), size_bytes).await
    }

    async fn open(&mut self, inner: &Arc<Inner>, owner: &str, what: What, size_bytes: u64) -> Result<(), CollectError> {
        let (store, owner, now) = (inner.store.clone(), owner.to_owned(), (inner.config.clock)());
        let put = move || store.put_collected(&owner, size_bytes, now).map_err(InvokeError::Store);
        let writer = blocking(put).await.map_err(CollectError::Device)?;
        self.open = Some(Open { what, left: size_bytes, writer });
        if size_bytes == 0 { self.end(inner).await } else { Ok(()) }
    }

    /// Its next bytes.
    pub(crate) async fn chunk(&mut self, inner: &Arc<Inner>, bytes: Vec<u8>) -> Result<(), CollectError> {
        let Some(mut open) = self.open.take() else {
            return Err(CollectError::Device(InvokeError::Bug { doing: "collect bytes of no file" }));
        };
        // More than announced is refused by the writer.
        open.left = open.left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let write = move || open.writer.write(&bytes).map(|()| open).map_err(InvokeError::Store);
        let open = blocking(write).await.map_err(CollectError::Device)?;
        let done = open.left == 0;
        self.open = Some(open);
        if done { self.end(inner).await } else { Ok(()) }
    }

    /// Everything taken, all of it whole.
    pub(crate) fn taken(self) -> Result<Taken, InvokeError> {
        match self.open {
            None => Ok(self.taken),
            Some(_) => Err(InvokeError::Bug { doing: "collect a file that broke off" }),
        }
    }

    async fn end(&mut self, inner: &Arc<Inner>) -> Result<(), CollectError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let now = (inner.config.clock)();
        let finish = move || open.writer.finish(now).map_err(InvokeError::Store);
        let blob = blocking(finish).await.map_err(CollectError::Device)?;
        match open.what {
            What::File(name) => {
                self.taken.files.push(FileRef { name, sha256: blob.sha256, size_bytes: blob.size_bytes });
            }
            What::Changes(counts) => self.taken.session = Some(SessionChanges { counts, changes: Some(blob) }),
        }
        Ok(())
    }
}
