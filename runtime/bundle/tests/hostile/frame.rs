//! The zstd frame around the code layer: its header bit by bit, its blocks, what follows it, and what it unpacks to.

use aria_bundle::Rule;

use crate::support::{Parts, file, parts, tar, zstd};
use crate::{Case, case};

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const SKIPPABLE: [u8; 12] = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];

fn layer(id: &str, rule: Rule, make: impl Fn() -> Vec<u8> + 'static) -> Case {
    case(format!("frame/{id}"), rule, move || Parts { layer: Some(make()), ..parts() }.bytes())
}

fn honest() -> Vec<u8> {
    zstd(&parts().code_tar())
}

/// A frame made by hand: the magic and these bytes.
fn raw(id: &str, rule: Rule, rest: &'static [u8]) -> Case {
    layer(id, rule, move || [&MAGIC[..], rest].concat())
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = joined();
    cases.extend(by_hand());
    cases.extend(bombs());
    cases
}

fn joined() -> Vec<Case> {
    vec![
        layer("two frames that join", Rule::ZstdFrame, || {
            let tar = parts().code_tar();
            let (front, back) = tar.split_at(5120);
            [zstd(front), zstd(back)].concat()
        }),
        layer("the same frame twice", Rule::ZstdFrame, || [honest(), honest()].concat()),
        layer("an empty frame behind it", Rule::ZstdFrame, || [honest(), zstd(b"")].concat()),
        layer("an empty frame before it", Rule::ZstdFrame, || [zstd(b""), honest()].concat()),
        layer("a skippable frame before it", Rule::ZstdFrame, || [&SKIPPABLE[..], &honest()].concat()),
        layer("a skippable frame behind it", Rule::ZstdFrame, || [&honest()[..], &SKIPPABLE].concat()),
        layer("nothing but a skippable frame", Rule::ZstdFrame, || SKIPPABLE.to_vec()),
        layer("the last kind of skippable frame", Rule::ZstdFrame, || vec![0x5f, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]),
        layer("a byte behind it", Rule::TrailingBytes, || [&honest()[..], b"x"].concat()),
        layer("zeros behind it", Rule::TrailingBytes, || [honest(), vec![0; 512]].concat()),
        layer("no content size", Rule::ZstdFrame, || {
            zstd::stream::encode_all(&parts().code_tar()[..], 3).expect("compress")
        }),
        layer("no compression", Rule::ZstdFrame, || parts().code_tar()),
        layer("gzip", Rule::ZstdFrame, || b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0".to_vec()),
        layer("xz", Rule::ZstdFrame, || b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F".to_vec()),
        layer("a zip", Rule::ZstdFrame, || b"PK\x03\x04\x14\0\0\0\0\0".to_vec()),
        layer("nothing", Rule::Truncated, Vec::new),
        layer("three bytes", Rule::Truncated, || MAGIC[..3].to_vec()),
        layer("half of it", Rule::Truncated, || {
            let mut frame = honest();
            frame.truncate(frame.len() / 2);
            frame
        }),
        layer("a byte less", Rule::Truncated, || {
            let mut frame = honest();
            frame.pop();
            frame
        }),
    ]
}

fn by_hand() -> Vec<Case> {
    vec![
        raw("only the magic", Rule::Truncated, &[]),
        raw("a header without blocks", Rule::Truncated, &[0b0010_0000, 5]),
        raw("a dictionary id of one byte", Rule::ZstdFrame, &[0b0010_0001, 1, 0, 1, 0, 0]),
        raw("a dictionary id of two bytes", Rule::ZstdFrame, &[0b0010_0010, 1, 0, 0, 1, 0, 0]),
        raw("a dictionary id of four bytes", Rule::ZstdFrame, &[0b0010_0011, 1, 0, 0, 0, 0, 1, 0, 0]),
        raw("a reserved bit", Rule::ZstdFrame, &[0b0010_1000, 0, 1, 0, 0]),
        raw("an unused bit", Rule::ZstdFrame, &[0b0011_0000, 0, 1, 0, 0]),
        raw("a window and no size", Rule::ZstdFrame, &[0b0000_0000, 0x58, 1, 0, 0]),
        raw("a window of 16 MiB", Rule::ZstdFrame, &[0b1000_0000, 14 << 3, 1, 0, 0, 0, 1, 0, 0]),
        raw("a window of 3.75 TiB", Rule::ZstdFrame, &[0b1000_0000, 0xff, 1, 0, 0, 0, 1, 0, 0]),
        raw("one segment of 16 MiB", Rule::ZstdFrame, &[0b1010_0000, 0, 0, 0, 1, 1, 0, 0]),
        raw(
            "one segment of all there is",
            Rule::ZstdFrame,
            &[0b1110_0000, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0],
        ),
        raw("an empty block before the last", Rule::ZstdFrame, &[0b0010_0000, 0, 0, 0, 0, 1, 0, 0]),
        raw("an empty run before the last", Rule::ZstdFrame, &[0b0010_0000, 0, 2, 0, 0, 7, 1, 0, 0]),
        raw("a block of reserved type", Rule::ZstdFrame, &[0b0010_0000, 0, 7, 0, 0]),
        raw("a block longer than the window", Rule::ZstdFrame, &[0b0010_0000, 1, 0b10_001, 0, 0, 1, 2]),
        raw("a block longer than 128 KiB", Rule::ZstdFrame, &[0b1010_0000, 0, 0, 0x10, 0, 0xf9, 0xff, 0xff]),
        raw("a checksum that is not there", Rule::Truncated, &[0b0010_0100, 0, 1, 0, 0]),
        layer("less declared than there is", Rule::ZstdFrame, || declare(10_240 - 512)),
        layer("more declared than there is", Rule::ZstdFrame, || declare(10_240 + 512)),
    ]
}

fn bombs() -> Vec<Case> {
    let zeros = |bytes: usize| {
        move || {
            let mut parts = parts();
            parts.files.push(("src/zeros".into(), vec![0; bytes]));
            parts.listing_its_files().bytes()
        }
    };
    vec![
        case("frame/4 MiB of zeros", Rule::Ratio, zeros(4 << 20)),
        case("frame/16 MiB of zeros", Rule::Ratio, zeros(16 << 20)),
        case("frame/runs of one byte that unpack to half a gibibyte", Rule::Ratio, || {
            Parts { layer: Some(runs(4096, 128 << 10)), ..parts() }.bytes()
        }),
        case("frame/runs that unpack to more than may be", Rule::BundleTooLarge, || {
            // Runs so short that the ratio is just below its limit.
            Parts { layer: Some(runs(1_342_178, 400)), ..parts() }.bytes()
        }),
        layer("zeros that are no archive", Rule::TrailingBytes, || zstd(&vec![0; 900 << 10])),
        layer("a frame in a frame", Rule::Truncated, || zstd(&honest())),
        layer("a bundle in a bundle", Rule::FileNotListed, || zstd(&parts().bytes())),
        layer("a small archive of large names", Rule::FileNotListed, || zstd(&tar(&[file(&"n".repeat(100), b"")]))),
    ]
}

/// Rewrites the declared content size of the honest frame, whose header has a two-byte one.
fn declare(size: u64) -> Vec<u8> {
    let mut frame = honest();
    assert_eq!(frame[4] >> 6, 1, "a two-byte size");
    let at = if frame[4] & 0x20 == 0 { 6 } else { 5 };
    frame[at..at + 2].copy_from_slice(&u16::try_from(size - 256).expect("fits").to_le_bytes());
    frame
}

/// A frame of `count` blocks, each one zero byte repeated `each` times: four bytes for 128 KiB.
fn runs(count: u64, each: u32) -> Vec<u8> {
    // A four-byte content size and a window of 128 KiB.
    let mut frame = [&MAGIC[..], &[0b1000_0000, 7 << 3]].concat();
    frame.extend(u32::try_from(count * u64::from(each)).expect("fits").to_le_bytes());
    for number in 1..=count {
        let header = each << 3 | 0b010 | u32::from(number == count);
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}
