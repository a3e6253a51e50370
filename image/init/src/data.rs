//! The data disk: found, mounted, grown to its disk, or replaced by memory with a loud message.
//!
//! A device whose data disk is gone or broken still boots and still answers, so that somebody can find out why.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use crate::cmdline::Options;
use crate::error::{InitError, chain};
use crate::{console, disk, gpt, sys};

pub(crate) const AT: &str = "/data";
/// Owner and group of everything ariad keeps.
pub(crate) const ARIA_ID: u32 = 901;
/// Disks that are there at all are there before PID 1; this only covers slow probing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether what is written will be there after the next boot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Data {
    Durable,
    Memory,
}

/// Mounts /data and binds its parts to where services look for them.
pub(crate) fn prepare(options: &Options) -> Result<Data, InitError> {
    let data = match durable(options) {
        Ok(()) => Data::Durable,
        Err(failure) => {
            console::say(&format!("DATA DISK UNUSABLE: {}", chain(&failure)));
            console::say("DATA DISK UNUSABLE: running on memory, nothing will survive a reboot");
            in_memory()?;
            Data::Memory
        }
    };
    directories()?;
    Ok(data)
}

fn durable(options: &Options) -> Result<(), InitError> {
    let node = disk::wait("aria.data", &options.data, PATIENCE)?;
    let node_name = node.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    if let Err(failure) = grow_partition(&node_name) {
        console::say(&format!("data partition keeps its size: {}", chain(&failure)));
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
    // errors=remount-ro: a disk that lies is not written any further; barriers are the default and are what fsync means here.
    mount(Some(&node), AT, Some("ext4"), flags, Some("errors=remount-ro")).map_err(|source| InitError::Mount {
        fs: format!("ext4 {}", node.display()),
        at: AT.into(),
        source,
    })?;
    if let Err(failure) = grow(&node_name) {
        console::say(&format!("data disk keeps its size: {}", chain(&failure)));
    }
    Ok(())
}

/// Grows a data partition to the end of its disk; a disk that is no partition has nothing to grow.
fn grow_partition(node_name: &str) -> Result<(), InitError> {
    let class = Path::new("/sys/class/block").join(node_name);
    let Some(number) = number_in(&class.join("partition"))? else { return Ok(()) };
    let wrap = |doing, path: &Path| {
        let path = path.to_path_buf();
        move |source| InitError::File { doing, path, source }
    };
    // In sysfs a partition's directory lies inside its disk's; the entry in the class is a link to it.
    let disk_class = fs::canonicalize(&class).map_err(wrap("resolve", &class))?;
    let disk_class = disk_class.parent().unwrap_or(&disk_class);
    let Some(sectors) = number_in(&disk_class.join("size"))? else { return Ok(()) };
    let disk_node = Path::new("/dev").join(disk_class.file_name().unwrap_or_default());
    let mut disk = OpenOptions::new().read(true).write(true).open(&disk_node).map_err(wrap("open", &disk_node))?;
    let mut head = vec![0; gpt::HEAD_BYTES];
    disk.read_exact(&mut head).map_err(wrap("read the partition table of", &disk_node))?;
    let growth =
        gpt::plan(&head, sectors, number).map_err(|source| InitError::Table { disk: disk_node.clone(), source })?;
    let Some(growth) = growth else { return Ok(()) };
    for (sector, bytes) in &growth.writes {
        disk.write_all_at(bytes, sector * 512)
            .and_then(|()| disk.sync_all())
            .map_err(wrap("write the partition table of", &disk_node))?;
    }
    let bytes = |sectors: u64| i64::try_from(sectors * 512).unwrap_or(i64::MAX);
    let number = i32::try_from(number).unwrap_or_default();
    sys::resize_partition(&disk, number, bytes(growth.first), bytes(growth.sectors))
        .map_err(wrap("resize the data partition of", &disk_node))?;
    console::say(&format!("data partition grown to {} MiB", growth.sectors >> 11));
    Ok(())
}

/// The number in a small kernel file; `None` when there is no such file.
fn number_in(path: &Path) -> Result<Option<u64>, InitError> {
    let wrap = |source| InitError::File { doing: "read a number from", path: path.to_path_buf(), source };
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| wrap(std::io::ErrorKind::InvalidData.into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrap(error)),
    }
}

/// Grows the file system to its block device. Nothing happens when it fills it already.
fn grow(node_name: &str) -> Result<(), InitError> {
    let wrap = |doing, path: &str, source| InitError::File { doing, path: path.into(), source };
    let Some(sectors) = number_in(&Path::new("/sys/class/block").join(node_name).join("size"))? else { return Ok(()) };
    let now = nix::sys::statvfs::statvfs(AT).map_err(|source| wrap("measure", AT, source.into()))?;
    let block_bytes = now.block_size();
    let wanted = sectors * 512 / block_bytes;
    // Below 16 MiB of gain it is only rounding: a file system never reports the blocks its own tables take.
    if wanted * block_bytes < now.blocks() * block_bytes + now.blocks() * block_bytes / 8 + (16 << 20) {
        return Ok(());
    }
    let directory = File::open(AT).map_err(|source| wrap("open", AT, source))?;
    sys::grow_ext4(&directory, wanted).map_err(|source| wrap("grow", AT, source))?;
    console::say(&format!("data disk grown to {} MiB", (wanted * block_bytes) >> 20));
    Ok(())
}

fn in_memory() -> Result<(), InitError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), AT, Some("tmpfs"), flags, Some("size=25%,mode=755")).map_err(|source| InitError::Mount {
        fs: "tmpfs".to_owned(),
        at: AT.into(),
        source,
    })
}

fn directories() -> Result<(), InitError> {
    for (name, owner, mode) in [("aria", ARIA_ID, 0o700), ("quilt", 0, 0o711), ("logs", 0, 0o700)] {
        directory(&format!("{AT}/{name}"), owner, mode)?;
    }
    for name in ["aria", "quilt"] {
        let (from, to) = (format!("{AT}/{name}"), format!("/var/lib/{name}"));
        mount(Some(from.as_str()), to.as_str(), None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|source| InitError::Mount { fs: from, at: to.into(), source })?;
    }
    Ok(())
}

/// Makes a directory with exactly this owner and mode, or corrects the one that is there.
pub(crate) fn directory(path: &str, owner: u32, mode: u32) -> Result<(), InitError> {
    let wrap = |doing| move |source| InitError::File { doing, path: path.into(), source };
    if !Path::new(path).is_dir() {
        fs::create_dir(path).map_err(wrap("make directory"))?;
    }
    chown(path, Some(owner), Some(owner)).map_err(wrap("give away"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(wrap("set the mode of"))
}
