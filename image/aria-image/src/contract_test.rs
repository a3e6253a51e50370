//! A good tree passes; each defect alone is named exactly.

use std::os::unix::fs::symlink;

use super::*;
use crate::elf::tests::program;
use crate::layout::tests::shipped;

struct Tree {
    root: tempfile::TempDir,
}

impl Tree {
    fn good() -> Tree {
        let layout = shipped();
        let tree = Tree { root: tempfile::tempdir().unwrap() };
        for path in layout.tree.directories.iter().chain(&["usr/lib/aria/tool-root/lib/x86_64-linux-gnu".to_owned()]) {
            tree.directory(path);
        }
        let static_program = program("", &[])
            .into_iter()
            .enumerate()
            .map(|(at, byte)| if at == 0x38 { 0 } else { byte })
            .collect::<Vec<_>>();
        for wanted in &layout.programs {
            tree.file(&wanted.path, &static_program, 0o755);
        }
        for path in &layout.tree.required {
            tree.file(path, b"x\n", 0o644);
        }
        for path in &layout.tool_root.required {
            let path = format!("{}/{path}", layout.tool_root.path);
            if path.ends_with("bun") {
                tree.file(&path, &program("/lib64/ld-linux-x86-64.so.2", &["libc.so.6"]), 0o755);
            } else if ["proc", "tmp", "dev", "app", "in", "out", "workspace"]
                .iter()
                .any(|name| path.ends_with(&format!("/{name}")))
            {
                tree.directory(&path);
            } else {
                tree.file(&path, b"x\n", 0o644);
            }
        }
        tree.file("usr/lib/aria/tool-root/lib/x86_64-linux-gnu/libc.so.6", &static_program, 0o755);
        let os_release: String = OS_RELEASE_KEYS.iter().map(|key| format!("{key}=1\n")).collect();
        tree.file("usr/lib/os-release", os_release.as_bytes(), 0o644);
        for (path, target) in &layout.tree.links {
            symlink(target, tree.path(path)).unwrap();
        }
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn directory(&self, path: &str) {
        fs::create_dir_all(self.path(path)).unwrap();
        self.mode(path, 0o755);
    }

    fn file(&self, path: &str, bytes: &[u8], mode: u32) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), bytes).unwrap();
        self.mode(path, mode);
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    #[track_caller]
    fn finds(&self, expected: &[Violation]) {
        assert_eq!(check(self.root.path(), &shipped()).unwrap(), expected);
    }
}

fn p(path: &str) -> String {
    path.to_owned()
}

#[test]
fn a_good_tree_passes() {
    Tree::good().finds(&[]);
}

#[test]
fn a_missing_program_is_named() {
    let tree = Tree::good();
    fs::remove_file(tree.path("usr/bin/ariad")).unwrap();
    tree.finds(&[Violation::Missing { path: p("usr/bin/ariad") }]);
}

#[test]
fn a_missing_mount_point_is_named() {
    let tree = Tree::good();
    fs::remove_dir(tree.path("data")).unwrap();
    tree.finds(&[Violation::Missing { path: p("data") }]);
}

#[test]
fn a_missing_harness_is_named() {
    let tree = Tree::good();
    fs::remove_file(tree.path("usr/lib/aria/tool-root/lib/aria/harness.js")).unwrap();
    tree.finds(&[Violation::Missing { path: p("usr/lib/aria/tool-root/lib/aria/harness.js") }]);
}

#[test]
fn a_program_must_be_executable() {
    let tree = Tree::good();
    tree.mode("usr/bin/quiltd", 0o644);
    tree.finds(&[Violation::NotExecutable { path: p("usr/bin/quiltd") }]);
}

#[test]
fn set_id_is_found_anywhere() {
    let tree = Tree::good();
    tree.mode("usr/lib/aria/tool-root/bin/bun", 0o4755);
    tree.finds(&[Violation::SetId { path: p("usr/lib/aria/tool-root/bin/bun"), mode: 0o4755 }]);
}

#[test]
fn world_writable_is_found() {
    let tree = Tree::good();
    tree.mode("etc/passwd", 0o666);
    tree.finds(&[Violation::WorldWritable { path: p("etc/passwd"), mode: 0o666 }]);
}

#[test]
fn what_services_cannot_read_is_found() {
    let tree = Tree::good();
    tree.mode("etc/aria/aria.toml", 0o600);
    tree.finds(&[Violation::Unreadable { path: p("etc/aria/aria.toml"), mode: 0o600 }]);
}

#[test]
fn dangling_links_are_found_without_looking_at_this_machine() {
    let tree = Tree::good();
    symlink("/bin/sh", tree.path("usr/bin/tool")).unwrap();
    symlink("../../../etc/hostname", tree.path("usr/bin/fine")).unwrap();
    tree.finds(&[Violation::DanglingLink { path: p("usr/bin/tool"), target: p("/bin/sh") }]);
}

#[test]
fn special_files_are_found() {
    let tree = Tree::good();
    std::os::unix::net::UnixListener::bind(tree.path("etc/socket")).unwrap();
    tree.finds(&[Violation::SpecialFile { path: p("etc/socket") }]);
}

#[test]
fn our_programs_are_static() {
    let tree = Tree::good();
    tree.file("usr/bin/ariad", &program("/lib64/ld-linux-x86-64.so.2", &[]), 0o755);
    tree.finds(&[
        Violation::NotStatic { path: p("usr/bin/ariad") },
        Violation::UnresolvedLibrary { path: p("usr/bin/ariad"), library: p("/lib64/ld-linux-x86-64.so.2") },
    ]);
}

#[test]
fn an_unresolved_library_is_named() {
    let tree = Tree::good();
    tree.file(
        "usr/lib/aria/tool-root/bin/bun",
        &program("/lib64/ld-linux-x86-64.so.2", &["libc.so.6", "libstdc++.so.6"]),
        0o755,
    );
    tree.finds(&[Violation::UnresolvedLibrary {
        path: p("usr/lib/aria/tool-root/bin/bun"),
        library: p("libstdc++.so.6"),
    }]);
}

#[test]
fn a_broken_program_is_named() {
    let tree = Tree::good();
    tree.file("usr/bin/ariad", b"#!/bin/sh\n", 0o755);
    tree.finds(&[Violation::BrokenProgram { path: p("usr/bin/ariad"), reason: p("not an ELF program") }]);
}

#[test]
fn shells_are_found() {
    let tree = Tree::good();
    tree.file("usr/bin/busybox", b"", 0o755);
    tree.finds(&[Violation::Shell { path: p("usr/bin/busybox") }]);
}

#[test]
fn os_release_names_the_image() {
    let tree = Tree::good();
    tree.file(
        "usr/lib/os-release",
        b"IMAGE_ID=aria\nIMAGE_VERSION=\nVARIANT_ID=dev\nBUILD_ROUTE=base\nIMAGE_EPOCH=1\n",
        0o644,
    );
    tree.finds(&[Violation::OsRelease { key: "IMAGE_VERSION" }]);
}

#[test]
fn the_size_budget_holds() {
    let tree = Tree::good();
    let mut layout = shipped();
    layout.image.tree_bytes_max = 10;
    let found = check(tree.root.path(), &layout).unwrap();
    assert!(matches!(found.as_slice(), [Violation::TooLarge { bytes_max: 10, .. }]), "{found:?}");
}
