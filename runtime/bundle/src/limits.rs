//! Bounds of one bundle. The numbers are the format's; a device may allow less.

/// What a reader accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The whole file.
    pub file_bytes_max: u64,
    /// Entries of one archive, directories that only appear in paths included.
    pub entries_max: usize,
    /// One entry.
    pub entry_bytes_max: u64,
    /// Everything the layers unpack to, headers and padding included.
    pub unpacked_bytes_max: u64,
    /// Unpacked size by packed size of a layer.
    pub ratio_max: u64,
    /// Below this many unpacked bytes the ratio does not matter.
    pub ratio_floor_bytes: u64,
    /// One JSON document.
    pub json_bytes_max: usize,
    /// Its depth.
    pub json_depth_max: usize,
    /// Window of the zstd frame.
    pub zstd_window_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes_max: 256 << 20,
            entries_max: 10_000,
            entry_bytes_max: 128 << 20,
            unpacked_bytes_max: 512 << 20,
            ratio_max: 100,
            ratio_floor_bytes: 1 << 20,
            json_bytes_max: 1 << 20,
            json_depth_max: 64,
            zstd_window_bytes_max: 8 << 20,
        }
    }
}
