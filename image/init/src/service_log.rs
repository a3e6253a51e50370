//! The bounded log file of the services: two segments below /data/logs, the older one dropped when the newer is full.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

const SEGMENT_BYTES_MAX: u64 = 4 << 20;

/// Takes lines; a disk that takes none costs the lines, nothing else.
pub(crate) struct ServiceLog {
    path: PathBuf,
    file: Option<File>,
    size_bytes: u64,
    segment_bytes_max: u64,
}

impl ServiceLog {
    pub(crate) fn open(directory: &Path) -> ServiceLog {
        ServiceLog::with_limit(directory, SEGMENT_BYTES_MAX)
    }

    fn with_limit(directory: &Path, segment_bytes_max: u64) -> ServiceLog {
        let path = directory.join("services.log");
        let file = OpenOptions::new().append(true).create(true).open(&path).ok();
        let size_bytes = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |about| about.len());
        ServiceLog { path, file, size_bytes, segment_bytes_max }
    }

    pub(crate) fn line(&mut self, service: &str, text: &str) {
        let line = format!("{service}: {text}\n");
        let bytes = line.len() as u64;
        if self.size_bytes + bytes > self.segment_bytes_max {
            let _ = fs::rename(&self.path, self.path.with_extension("log.1"));
            self.file = OpenOptions::new().append(true).create(true).open(&self.path).ok();
            self.size_bytes = 0;
        }
        if let Some(file) = &mut self.file
            && file.write_all(line.as_bytes()).is_ok()
        {
            self.size_bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_two_segments() {
        let directory = std::env::temp_dir().join(format!("aria-init-log-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut log = ServiceLog::with_limit(&directory, 100);
        for count in 0..50 {
            log.line("ariad", &format!("line {count}"));
        }
        let sizes: Vec<u64> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size <= 100), "{sizes:?}");
        assert!(fs::read_to_string(directory.join("services.log")).unwrap().ends_with("ariad: line 49\n"));
        fs::remove_dir_all(directory).unwrap();
    }
}
