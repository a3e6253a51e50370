//! Files a run left in `/out` become blobs of its owner.

use std::sync::Arc;

use aria_core::FileRef;
use aria_core::plan::is_file_name;
use aria_store::BlobWriter;

use crate::error::InvokeError;
use crate::{Inner, blocking};

/// Most files one run may leave.
const FILES_MAX: usize = 256;

/// Takes files one after the other.
#[derive(Default)]
pub(crate) struct Collector {
    files: Vec<FileRef>,
    open: Option<Open>,
    bytes: u64,
}

struct Open {
    name: String,
    left: u64,
    writer: BlobWriter,
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
        if self.files.len() >= FILES_MAX {
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
        let (store, owner, now) = (inner.store.clone(), owner.to_owned(), (inner.config.clock)());
        let put = move || store.put_collected(&owner, size_bytes, now).map_err(InvokeError::Store);
        let writer = blocking(put).await.map_err(CollectError::Device)?;
        self.open = Some(Open { name, left: size_bytes, writer });
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
    pub(crate) fn files(self) -> Result<Vec<FileRef>, InvokeError> {
        match self.open {
            None => Ok(self.files),
            Some(_) => Err(InvokeError::Bug { doing: "collect a file that broke off" }),
        }
    }

    async fn end(&mut self, inner: &Arc<Inner>) -> Result<(), CollectError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let now = (inner.config.clock)();
        let finish = move || open.writer.finish(now).map_err(InvokeError::Store);
        let blob = blocking(finish).await.map_err(CollectError::Device)?;
        self.files.push(FileRef { name: open.name, sha256: blob.sha256, size_bytes: blob.size_bytes });
        Ok(())
    }
}
