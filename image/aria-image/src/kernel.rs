//! The prebuilt kernel: which package is current, fetching and unpacking it, and the modules stage 1 loads.
//!
//! No version is written down anywhere: distributions drop old ones, so the name comes from the meta package's dependency. apt checks the download
//! against its signed index; what was unpacked before is used when there is no network.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cache::progress;
use crate::elf;
use crate::tools::Call;

/// An unpacked kernel package.
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    modules: PathBuf,
}

/// A module file and the name it gets in the initramfs.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The current kernel package, downloaded and unpacked below `cache`.
pub(crate) fn obtain(meta_package: &str, cache: &Path) -> Result<Kernel> {
    let trees = cache.join("kernel");
    fs::create_dir_all(&trees).with_context(|| format!("make {}", trees.display()))?;
    let package = match current(meta_package) {
        Ok(package) => package,
        Err(cause) => {
            let kept = newest(&trees)
                .with_context(|| format!("no kernel package is known and none is in the cache: {cause:#}"))?;
            progress("kernel", &format!("{kept} from the cache ({cause:#})"));
            kept
        }
    };
    let tree = trees.join(&package);
    if tree.is_dir() {
        return open(&tree);
    }
    match (fetch(&package, &trees, &tree), newest(&trees)) {
        (Ok(()), _) => open(&tree),
        (Err(cause), None) => Err(cause),
        (Err(cause), Some(kept)) => {
            progress("kernel", &format!("{kept} from the cache ({cause:#})"));
            open(&trees.join(kept))
        }
    }
}

fn current(meta_package: &str) -> Result<String> {
    let listing = Call::new("apt-cache", &["depends", "--important", meta_package]).run()?;
    dependency(&listing)
        .with_context(|| format!("{meta_package} depends on no linux-image package; is the package index empty?"))
}

/// `Depends: linux-image-<version>` in what `apt-cache depends` prints.
fn dependency(listing: &str) -> Option<String> {
    let names = listing.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names
        .map(str::trim)
        .find(|name| {
            name.starts_with("linux-image-")
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.+".contains(&byte))
        })
        .map(str::to_owned)
}

fn newest(trees: &Path) -> Option<String> {
    let names = fs::read_dir(trees).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("linux-image-") && !name.ends_with(".next") && trees.join(name).is_dir()).max()
}

fn fetch(package: &str, trees: &Path, tree: &Path) -> Result<()> {
    let old = |name: &str| name.starts_with(&format!("{package}_")) && name.ends_with(".deb");
    for entry in fs::read_dir(trees)?.flatten().filter(|entry| entry.file_name().to_str().is_some_and(old)) {
        fs::remove_file(entry.path())?;
    }
    // apt would drop to a user that cannot write here; the download is checked against the signed index either way.
    Call::new("apt-get", &["download", "--quiet", "--option", "APT::Sandbox::User=root", package])
        .within(trees)
        .run()?;
    let deb = fs::read_dir(trees)?
        .flatten()
        .find(|entry| entry.file_name().to_str().is_some_and(old))
        .map(|entry| entry.path());
    let deb = deb.with_context(|| format!("apt-get download {package} left no file"))?;
    // Not with_extension: versions hold dots.
    let next = trees.join(format!("{package}.next"));
    crate::cache::remove(&next)?;
    Call::new("dpkg-deb", &["--extract"]).arg(&deb).arg(&next).run()?;
    fs::rename(&next, tree)?;
    fs::remove_file(deb)?;
    Ok(())
}

fn open(tree: &Path) -> Result<Kernel> {
    let only = |directory: PathBuf, prefix: &str| -> Result<PathBuf> {
        let found = fs::read_dir(&directory)
            .with_context(|| format!("list {}", directory.display()))?
            .flatten()
            .map(|entry| entry.path());
        let mut found: Vec<PathBuf> = found
            .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix)))
            .collect();
        match (found.pop(), found.is_empty()) {
            (Some(path), true) => Ok(path),
            _ => bail!("{} holds not exactly one {prefix}*", directory.display()),
        }
    };
    let modules =
        if tree.join("lib/modules").is_dir() { tree.join("lib/modules") } else { tree.join("usr/lib/modules") };
    Ok(Kernel { image: only(tree.join("boot"), "vmlinuz-")?, modules: only(modules, "")? })
}

impl Kernel {
    /// The wanted modules and everything they depend on, each after what it needs. Built-in ones are simply absent.
    pub(crate) fn modules(&self, wanted: &[String]) -> Result<Vec<Module>> {
        let mut files = BTreeMap::new();
        index(&self.modules.join("kernel"), &mut files)?;
        let built_in = fs::read_to_string(self.modules.join("modules.builtin")).unwrap_or_default();
        let built_in: Vec<String> =
            built_in.lines().filter_map(|line| line.rsplit('/').next().map(module_name)).collect();
        let order = order(wanted, |name| match files.get(name) {
            Some(path) => {
                let bytes = read_module(path)?;
                Ok(Some(elf::module_depends(&bytes).with_context(|| format!("read module {}", path.display()))?))
            }
            None if built_in.iter().any(|known| known == name) => Ok(None),
            None => bail!("this kernel has no module {name}"),
        })?;
        order.into_iter().map(|name| Ok(Module { bytes: read_module(&files[&name])?, name })).collect()
    }
}

fn index(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| name.contains(".ko")) {
            files.insert(module_name(name), path);
        }
    }
    Ok(())
}

/// `virtio-rng.ko.xz` → `virtio_rng`, as the kernel spells it.
fn module_name(file: &str) -> String {
    file.split(".ko").next().unwrap_or_default().replace('-', "_")
}

fn read_module(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension != "ko") {
        bail!("module {} is compressed; this recipe is for kernels that ship plain modules", path.display());
    }
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// Depth first, each name once. `depends` says what a module needs, `None` for one that is built in.
fn order(wanted: &[String], mut depends: impl FnMut(&str) -> Result<Option<Vec<String>>>) -> Result<Vec<String>> {
    fn visit(
        name: &str,
        depth: usize,
        depends: &mut impl FnMut(&str) -> Result<Option<Vec<String>>>,
        done: &mut Vec<String>,
    ) -> Result<()> {
        if depth > 32 {
            bail!("module {name} depends on itself");
        }
        if done.iter().any(|known| known == name) {
            return Ok(());
        }
        let Some(needs) = depends(name)? else { return Ok(()) };
        for need in needs {
            visit(&need.replace('-', "_"), depth + 1, depends, done)?;
        }
        done.push(name.to_owned());
        Ok(())
    }
    let mut done = Vec::new();
    for name in wanted {
        visit(name, 0, &mut depends, &mut done)?;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_package_is_the_dependency() {
        let listing = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-1-cloud-amd64\n";
        assert_eq!(dependency(listing).as_deref(), Some("linux-image-6.1.0-1-cloud-amd64"));
        assert_eq!(dependency("linux-image-cloud-amd64\n"), None);
        assert_eq!(dependency("  Depends: linux-image-../x\n"), None);
    }

    #[test]
    fn modules_come_after_what_they_need() {
        let table = |name: &str| match name {
            "virtio_net" => Ok(Some(vec!["virtio".to_owned(), "net-failover".to_owned()])),
            "net_failover" => Ok(Some(vec!["failover".to_owned()])),
            "virtio" | "failover" => Ok(Some(vec![])),
            "ext4" => Ok(None),
            _ => bail!("unknown {name}"),
        };
        let names = |wanted: &[&str]| order(&wanted.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), table);
        assert_eq!(
            names(&["ext4", "virtio_net", "virtio"]).unwrap(),
            ["virtio", "failover", "net_failover", "virtio_net"]
        );
        assert!(names(&["missing"]).is_err());
    }

    #[test]
    fn a_circle_ends_in_an_error() {
        assert!(
            order(&["a".to_owned()], |name| Ok(Some(vec![if name == "a" { "b" } else { "a" }.to_owned()]))).is_err()
        );
    }

    #[test]
    fn file_names_become_module_names() {
        assert_eq!(module_name("virtio-rng.ko"), "virtio_rng");
        assert_eq!(module_name("kernel/x/erofs.ko.xz"), "kernel/x/erofs");
    }
}
