//! Assembles images and checks what is in them.
//!
//! `aria-image build` makes, from built programs, the tool root, a prebuilt kernel package and `image/layout.toml`: a direct-boot directory
//! (`vmlinuz initrd.zst root.erofs data.img.template`) and the disk image `aria-<version>-<arch>.img.zst`. `aria-image check TREE` checks a root
//! tree against the contract. Needs no privilege and no loop device; a second run repeats only what changed.

mod cache;
mod contract;
mod cpio;
mod elf;
mod gpt;
mod images;
mod kernel;
mod layout;
mod rootfs;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use cache::{Key, progress, step};
use images::Packing;
use layout::Layout;
use rootfs::{Release, Sources};

const ARCH: &str = "x86_64";
const USAGE: &str =
    "usage: aria-image build [--out DIR] [--binaries DIR] [--tool-root DIR] [--cache DIR] [--source DIR] [--direct]
       aria-image check TREE [--source DIR]
  --direct  only what direct boot needs, no disk image";
/// The clock floor of a build that knows no better (2026-01-01).
const EPOCH_DEFAULT: u64 = 1_767_225_600;

struct Options {
    out: PathBuf,
    binaries: PathBuf,
    tool_root: PathBuf,
    cache: PathBuf,
    source: PathBuf,
    direct: bool,
    rest: Vec<String>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        cache::say(USAGE);
        return Ok(());
    }
    let options = options(&arguments)?;
    match options.rest.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["build"] => build(&options),
        ["check", tree] => check(Path::new(tree), &read_layout(&options.source)?),
        _ => bail!("{USAGE}"),
    }
}

fn options(arguments: &[String]) -> Result<Options> {
    let mut options = Options {
        out: "out/image".into(),
        binaries: "out/bin".into(),
        tool_root: "out/tool-root".into(),
        cache: "out/cache".into(),
        source: "image".into(),
        direct: false,
        rest: Vec::new(),
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let place = match word.as_str() {
            "--out" => &mut options.out,
            "--binaries" => &mut options.binaries,
            "--tool-root" => &mut options.tool_root,
            "--cache" => &mut options.cache,
            "--source" => &mut options.source,
            "--direct" => {
                options.direct = true;
                continue;
            }
            flag if flag.starts_with('-') => bail!("unknown option {flag}\n{USAGE}"),
            _ => {
                options.rest.push(word.clone());
                continue;
            }
        };
        *place = words.next().with_context(|| format!("{word} needs a directory\n{USAGE}"))?.into();
    }
    Ok(options)
}

fn read_layout(source: &Path) -> Result<Layout> {
    let path = source.join("layout.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Layout::parse(&text).with_context(|| format!("read {}", path.display()))
}

fn check(tree: &Path, layout: &Layout) -> Result<()> {
    let violations = contract::check(tree, layout).with_context(|| format!("check {}", tree.display()))?;
    if violations.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = violations.iter().map(|violation| format!("  {violation}")).collect();
    bail!("the tree breaks the contract of an image:\n{}", lines.join("\n"))
}

fn build(options: &Options) -> Result<()> {
    let started = Instant::now();
    let layout = read_layout(&options.source)?;
    let release = Release { version: env!("CARGO_PKG_VERSION").to_owned(), epoch: epoch() };
    fs::create_dir_all(&options.out).with_context(|| format!("make {}", options.out.display()))?;
    let _alone = cache::lock(&options.out)?;
    let at = |name: &str| options.out.join(name);
    let key = rootfs_step(options, &layout, &release, &at("rootfs"))?;
    check(&at("rootfs"), &layout)?;
    progress("contract", "holds");
    let key_of = |recipe: &str| Key::of(recipe).text(&key).hex();
    let plain = key_of("erofs 1");
    step("root.erofs", &at("root.erofs"), &plain, |next| images::erofs(&at("rootfs"), next, Packing::Plain, &plain))?;
    initramfs_step(options, &layout)?;
    let data_bytes = layout
        .partitions
        .iter()
        .find(|part| part.content == layout::Content::Data)
        .map_or(64 << 20, |part| part.size_bytes);
    let data_key = Key::of("data 1").text(&format!("{data_bytes} {EPOCH_DEFAULT}")).hex();
    step("data.img.template", &at("data.img.template"), &data_key, |next| {
        images::data_seed(next, data_bytes, EPOCH_DEFAULT)
    })?;
    if !options.direct {
        artefact(options, &layout, &release, &key)?;
    }
    progress("done", &format!("{:.1} s, in {}", started.elapsed().as_secs_f64(), options.out.display()));
    Ok(())
}

fn rootfs_step(options: &Options, layout: &Layout, release: &Release, output: &Path) -> Result<String> {
    let sources = Sources {
        binaries: options.binaries.clone(),
        tool_root: options.tool_root.clone(),
        overlay: options.source.join("rootfs"),
    };
    let mut key =
        Key::of("rootfs 1").text(&rootfs::os_release(layout, release)).file(&options.source.join("layout.toml"))?;
    for program in &layout.programs {
        key = key.file(&sources.binaries.join(&program.name))?;
    }
    let key = key.tree(&sources.tool_root)?.tree(&sources.overlay)?.hex();
    step("root tree", output, &key, |next| rootfs::assemble(next, layout, &sources, release))?;
    Ok(key)
}

fn initramfs_step(options: &Options, layout: &Layout) -> Result<()> {
    let started = Instant::now();
    let kernel = kernel::obtain(&layout.kernel.meta_package, &options.cache)?;
    progress(
        "kernel package",
        &format!(
            "{:.1} s, {}",
            started.elapsed().as_secs_f64(),
            kernel.image.file_name().unwrap_or_default().to_string_lossy()
        ),
    );
    let modules = kernel.modules(&layout.kernel.modules)?;
    let init = options.binaries.join("aria-init");
    let mut key = Key::of("initramfs 1").file(&init)?;
    for module in &modules {
        key = key.text(&module.name).text(&cache::hex(&<sha2::Sha256 as sha2::Digest>::digest(&module.bytes)));
    }
    step("initrd.zst", &options.out.join("initrd.zst"), &key.hex(), |next| images::initramfs(next, &init, &modules))?;
    let image_key = Key::of("vmlinuz 1").file(&kernel.image)?.hex();
    step("vmlinuz", &options.out.join("vmlinuz"), &image_key, |next| {
        fs::copy(&kernel.image, next)?;
        Ok(())
    })
}

fn artefact(options: &Options, layout: &Layout, release: &Release, key: &str) -> Result<()> {
    let at = |name: &str| options.out.join(name);
    let packed = Key::of("erofs lz4 1").text(key).hex();
    step("root.lz4.erofs", &at("root.lz4.erofs"), &packed, |next| {
        images::erofs(&at("rootfs"), next, Packing::Lz4, &packed)
    })?;
    let name = format!("aria-{}-{ARCH}.img.zst", release.version);
    let key = Key::of("disk 2")
        .text(&packed)
        .file(&at("data.img.template"))?
        .file(&options.source.join("layout.toml"))?
        .hex();
    step(&name, &at(&name), &key, |next| {
        let plain = next.with_extension("plain");
        images::disk(&plain, &layout.partitions, &at("root.lz4.erofs"), &at("data.img.template"))?;
        images::zstd(&plain, next, 3)?;
        fs::remove_file(plain)?;
        Ok(())
    })?;
    let bytes = fs::metadata(at(&name))?.len();
    progress(&format!("{} size", at(&name).display()), &format!("{bytes} bytes ({:.1} MB)", bytes as f64 / 1e6));
    Ok(())
}

/// When the sources were last changed: `SOURCE_DATE_EPOCH`, else the last commit, else a fixed day.
fn epoch() -> u64 {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    let last_commit = || tools::Call::new("git", &["log", "-1", "--format=%ct"]).run().ok();
    given.or_else(last_commit).and_then(|text| text.trim().parse().ok()).unwrap_or(EPOCH_DEFAULT)
}
