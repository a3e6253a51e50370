//! File steps that name what they were doing to what.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::error::StoreError;

pub(crate) fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { doing, path: path.to_owned(), source }
}

/// Makes a directory and what is missing above it, for this user alone, and durable: a power cut must not take a new one with all
/// that was put into it.
pub(crate) fn make_directory(path: &Path) -> Result<(), StoreError> {
    let new: Vec<&Path> = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("make directory", path))?;
    let parents = new.into_iter().filter_map(Path::parent);
    parents
        .map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
        .try_for_each(sync_directory)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(io_error("flush", path))
}

/// Removes a file or a whole directory; absent is fine.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Names in a directory; what is not UTF-8 is shown lossily and belongs to nobody.
pub(crate) fn names(path: &Path) -> Result<Vec<(String, std::path::PathBuf)>, StoreError> {
    let entries = fs::read_dir(path).map_err(io_error("list", path))?;
    let name = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.map_err(io_error("list", path))?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    entries.map(name).collect()
}
