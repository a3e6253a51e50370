//! Amounts in `mem` and `cpu` tokens.
//!
//! `mem`: a whole number of bytes, or with `k`, `m`, `g` of 1024, 1024², 1024³. `cpu`: a whole number of cores, or with `m`
//! of thousandths. The canonical form uses the largest unit that needs no fraction.

use super::{Kind, Segment, TokenError};

/// 1 PiB; above it nobody means it.
const MEM_BYTES_MAX: u64 = 1 << 50;
/// 1,024 cores.
const CPU_MILLIS_MAX: u64 = 1_024_000;

pub(super) struct Quantity {
    amount: u64,
    units: &'static [(&'static str, u64)],
}

impl Quantity {
    /// `None` for kinds that are not quantities.
    pub(super) fn parse(kind: Kind, segment: &Segment) -> Result<Option<Self>, TokenError> {
        let (units, max): (&'static [(&'static str, u64)], u64) = match kind {
            Kind::Mem => (&[("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10), ("", 1)], MEM_BYTES_MAX),
            Kind::Cpu => (&[("", 1000), ("m", 1)], CPU_MILLIS_MAX),
            _ => return Ok(None),
        };
        let text = segment.as_str();
        let amount = read(text, units).filter(|amount| *amount > 0 && *amount <= max);
        let amount = amount.ok_or_else(|| TokenError::Quantity { kind, quantity: text.into() })?;
        Ok(Some(Self { amount, units }))
    }

    pub(super) fn amount(&self) -> u64 {
        self.amount
    }

    pub(super) fn canonical(&self) -> Segment {
        let fits = self.units.iter().find(|(_, size)| self.amount.is_multiple_of(*size));
        let (unit, size) = fits.copied().unwrap_or(("", 1));
        Segment::of_quantity(self.amount / size, unit)
    }
}

fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.trim_end_matches(|last: char| last.is_ascii_lowercase());
    let (_, size) = units.iter().find(|(unit, _)| *unit == &text[digits.len()..])?;
    let plain = !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse::<u64>().ok()?.checked_mul(*size) } else { None }
}
