//! File system images and the disk: EROFS root, ext4 data seed, initramfs, GPT disk. Same input, same bytes.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::cpio::{self, Entry};
use crate::gpt;
use crate::kernel::Module;
use crate::layout::{Content, Partition};
use crate::tools::Call;

/// How the root file system is packed.
#[derive(Clone, Copy)]
pub(crate) enum Packing {
    /// For direct boot: built in a blink.
    Plain,
    /// For the artefact: every EROFS kernel since 6.1 reads it.
    Lz4,
}

/// A UUID that follows from the content's key, so equal content has an equal one.
fn uuid_of(key: &str) -> String {
    let part = |from: usize, to: usize| key.get(from..to).unwrap_or("0");
    format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

pub(crate) fn erofs(tree: &Path, output: &Path, packing: Packing, key: &str) -> Result<()> {
    let uuid = uuid_of(key);
    let call = Call::new("mkfs.erofs", &["-T0", "--all-root", "-x-1", "-U", &uuid]);
    let call = match packing {
        Packing::Plain => call,
        Packing::Lz4 => call.arg("-zlz4hc,12").arg("-C65536"),
    };
    call.arg(output).arg(tree).run()?;
    Ok(())
}

/// The empty data file system: small, made to grow to any size (`meta_bg`), times and hash seed fixed.
pub(crate) fn data_seed(output: &Path, size_bytes: u64, epoch: u64) -> Result<()> {
    File::create(output)?.set_len(size_bytes)?;
    let options = [
        "-q",
        "-F",
        "-b",
        "4096",
        "-L",
        "aria-data",
        "-U",
        "a51a0000-0000-4000-8000-00000000da7a",
        "-i",
        "16384",
        "-m",
        "1",
    ];
    let extended =
        ["-E", "hash_seed=a51a0000-0000-4000-8000-00000000da7b,lazy_itable_init=1,root_owner=0:0", "-J", "size=8"];
    let features = ["-O", "64bit,metadata_csum,meta_bg,^resize_inode"];
    let call = Call::new("mkfs.ext4", &[&options[..], &extended[..], &features[..]].concat());
    call.arg(output).env("E2FSPROGS_FAKE_TIME", epoch.to_string()).run()?;
    Ok(())
}

/// Stage 1 of PID 1 with its modules, compressed.
pub(crate) fn initramfs(output: &Path, init: &Path, modules: &[Module]) -> Result<()> {
    let program = fs::read(init).with_context(|| format!("read {}", init.display()))?;
    let paths: Vec<String> = modules.iter().map(|module| format!("lib/modules/{}.ko", module.name)).collect();
    let list: String = paths.iter().map(|path| format!("/{path}\n")).collect();
    let directories = ["dev", "etc", "lib", "lib/modules", "newroot", "proc", "sys"];
    let mut entries: Vec<Entry<'_>> = directories.iter().map(|path| Entry::Directory { path }).collect();
    entries.push(Entry::File { path: "etc/initrd-release", executable: false, bytes: b"ID=aria\n" });
    entries.push(Entry::File { path: "init", executable: true, bytes: &program });
    entries.push(Entry::File { path: "lib/modules/load", executable: false, bytes: list.as_bytes() });
    for (path, module) in paths.iter().zip(modules) {
        entries.push(Entry::File { path, executable: false, bytes: &module.bytes });
    }
    let plain = output.with_extension("cpio");
    fs::write(&plain, cpio::archive(&entries))?;
    zstd(&plain, output, 12)?;
    fs::remove_file(plain)?;
    Ok(())
}

/// Compresses with a fixed number of workers, so that the bytes do not depend on the machine.
pub(crate) fn zstd(from: &Path, to: &Path, level: u32) -> Result<()> {
    let level = format!("-{level}");
    Call::new("zstd", &["-q", "-f", "-T2", &level]).arg(from).arg("-o").arg(to).run()?;
    Ok(())
}

/// A GPT disk, sparse, with each partition's content at its place.
pub(crate) fn disk(output: &Path, partitions: &[Partition], root: &Path, data: &Path) -> Result<()> {
    let mut end = gpt::ALIGN;
    let mut entries = Vec::new();
    for partition in partitions {
        entries.push(gpt::Entry {
            label: &partition.label,
            kind: &partition.kind,
            uuid: &partition.uuid,
            start: end,
            size: partition.size_bytes,
        });
        end += partition.size_bytes.next_multiple_of(gpt::ALIGN);
    }
    let size = gpt::disk_bytes(end);
    let mut disk = OpenOptions::new().write(true).create(true).truncate(true).open(output)?;
    disk.set_len(size)?;
    gpt::write(&mut disk, size, "A51A0000-0000-4000-8000-000000000000", &entries)?;
    for (partition, entry) in partitions.iter().zip(&entries) {
        let content = match partition.content {
            Content::Root => root,
            Content::Data => data,
        };
        place(&mut disk, content, entry.start, partition.size_bytes)
            .with_context(|| format!("fill partition {}", partition.label))?;
    }
    Ok(())
}

/// Copies a file to an offset of the disk, leaving holes where it holds only zeros.
fn place(disk: &mut File, content: &Path, offset: u64, size_max: u64) -> Result<()> {
    let mut file = File::open(content).with_context(|| format!("open {}", content.display()))?;
    let length = file.metadata()?.len();
    if length > size_max {
        bail!("{} has {length} bytes, its partition {size_max}", content.display());
    }
    let mut buffer = vec![0; 1 << 20];
    let mut at = offset;
    loop {
        let read = file.read(&mut buffer)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { return Ok(()) };
        if part.iter().any(|byte| *byte != 0) {
            disk.seek(SeekFrom::Start(at))?;
            disk.write_all(part)?;
        }
        at += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::shipped;

    #[test]
    fn uuids_have_their_form() {
        let uuid = uuid_of(&"0123456789abcdef".repeat(4));
        assert_eq!(uuid, "01234567-89ab-4def-8123-456789abcdef");
    }

    #[test]
    fn content_lands_in_its_partition_and_must_fit() {
        let directory = tempfile::tempdir().unwrap();
        let [root, data, disk_path] = ["root", "data", "disk"].map(|name| directory.path().join(name));
        fs::write(&root, b"ROOT").unwrap();
        fs::write(&data, b"DATA").unwrap();
        let mut partitions = shipped().partitions;
        partitions.iter_mut().for_each(|partition| partition.size_bytes = gpt::ALIGN);
        disk(&disk_path, &partitions, &root, &data).unwrap();
        let bytes = fs::read(&disk_path).unwrap();
        assert_eq!(&bytes[1 << 20..(1 << 20) + 4], b"ROOT");
        assert_eq!(&bytes[2 << 20..(2 << 20) + 4], b"DATA");
        assert_eq!(&bytes[512..520], b"EFI PART");
        fs::write(&root, vec![1; (1 << 20) + 1]).unwrap();
        assert!(format!("{:#}", disk(&disk_path, &partitions, &root, &data).unwrap_err()).contains("root-a"));
    }
}
