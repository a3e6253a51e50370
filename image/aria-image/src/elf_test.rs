//! ELF files made byte by byte.

use super::*;

/// A program that names an interpreter and libraries, and nothing else.
pub(crate) fn program(interpreter: &str, libraries: &[&str]) -> Vec<u8> {
    let mut names = vec![0];
    let mut dynamic = Vec::new();
    for library in libraries {
        dynamic.extend([1u64, names.len() as u64]);
        names.extend(library.bytes().chain([0]));
    }
    let base = 64 + 3 * 56;
    let (interpreter_at, names_at) = (base, base + interpreter.len() as u64 + 1);
    let dynamic_at = names_at + names.len() as u64;
    dynamic.extend([5, names_at, 10, names.len() as u64, 0, 0]);
    let dynamic: Vec<u8> = dynamic.iter().flat_map(|word| word.to_le_bytes()).collect();
    let end = dynamic_at + dynamic.len() as u64;
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[0x20] = 64;
    file[0x36] = 56;
    file[0x38] = 3;
    for (kind, offset, size) in
        [(3u32, interpreter_at, interpreter.len() as u64 + 1), (2, dynamic_at, dynamic.len() as u64), (1, 0, end)]
    {
        let mut entry = kind.to_le_bytes().to_vec();
        entry.extend([0; 4]);
        for word in [offset, offset, offset, size, size, 0] {
            entry.extend(word.to_le_bytes());
        }
        file.extend(entry);
    }
    file.extend(interpreter.bytes().chain([0]));
    file.extend(names);
    file.extend(dynamic);
    file
}

fn saved(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn a_dynamic_program_names_its_needs() {
    let file = saved(&program("/lib64/ld.so", &["libc.so.6", "libm.so.6"]));
    let expected = Needs {
        interpreter: Some("/lib64/ld.so".to_owned()),
        libraries: vec!["libc.so.6".to_owned(), "libm.so.6".to_owned()],
    };
    assert_eq!(needs(file.path()).unwrap(), Some(expected));
}

#[test]
fn this_test_is_a_static_program() {
    assert_eq!(needs(&std::env::current_exe().unwrap()).unwrap(), Some(Needs::default()));
}

#[test]
fn text_is_no_program() {
    assert_eq!(needs(saved(b"#!/bin/sh\n").path()).unwrap(), None);
    assert_eq!(needs(saved(b"").path()).unwrap(), None);
}

#[test]
fn other_machines_are_refused() {
    assert!(matches!(needs(saved(b"\x7fELF\x01\x01").path()), Err(ElfError::Foreign)));
}

#[test]
fn every_truncation_and_flip_is_an_answer_or_a_refusal() {
    let whole = program("/lib64/ld.so", &["libc.so.6"]);
    for length in 0..whole.len() {
        let _ = needs(saved(&whole[..length]).path());
    }
    for place in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[place] ^= 0xff;
        let _ = needs(saved(&flipped).path());
        let _ = module_depends(&flipped);
    }
}
