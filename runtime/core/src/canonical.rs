//! Canonical JSON (RFC 8785): one text for one value, so that a hash of it means something in every language.

use std::fmt::Write;

use serde_json::{Number, Value};

/// The canonical text of `value`: members sorted by UTF-16 code units, numbers as ECMAScript prints them, no spaces.
///
/// Numbers are doubles here, as the RFC demands: an integer beyond 2^53 is rounded. Depth is the caller's to bound.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

fn write(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::String(text) => string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                separator(out, index);
                write(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (index, (key, member)) in members.into_iter().enumerate() {
                separator(out, index);
                string(out, key);
                out.push(':');
                write(out, member);
            }
            out.push('}');
        }
    }
}

fn separator(out: &mut String, index: usize) {
    if index > 0 {
        out.push(',');
    }
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            // Writing to a string cannot fail.
            control if control < ' ' => drop(write!(out, "\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// ECMAScript's `Number::toString`: the shortest digits that read back, laid out by the size of the exponent.
///
/// The digits are `serde_json`'s, which takes the even one of two equally near candidates as ECMAScript does; the standard
/// library rounds such a tie up.
fn number_text(number: &Number) -> String {
    let value = number.as_f64().unwrap_or(0.0);
    if value == 0.0 {
        return "0".into();
    }
    let shortest = Number::from_f64(value.abs()).map(|number| number.to_string()).unwrap_or_default();
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    // The first significant digit stands at 10^first.
    let first = length(whole) - 1 - (length(&all) - length(digits)) + exponent;
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", layout(digits.trim_end_matches('0'), first))
}

fn length(text: &str) -> i32 {
    i32::try_from(text.len()).unwrap_or(i32::MAX)
}

// `digits` without its point, first digit at 10^exponent; the four cases are those of ECMA-262, 6.1.6.1.20.
fn layout(digits: &str, exponent: i32) -> String {
    let count = length(digits);
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    let point = exponent + 1;
    if (count..=21).contains(&point) {
        return format!("{digits}{}", zeros(point - count));
    }
    if (1..=21).contains(&point) {
        let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0));
        return format!("{whole}.{fraction}");
    }
    if (-5..=0).contains(&point) {
        return format!("0.{}{digits}", zeros(-point));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let (first, rest) = digits.split_at(1);
    let rest = if rest.is_empty() { String::new() } else { format!(".{rest}") };
    format!("{first}{rest}e{sign}{}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn number(value: f64, expected: &str) {
        assert_eq!(to_string(&json!(value)), expected);
    }

    // The table of RFC 8785, appendix B.
    #[test]
    fn numbers_are_as_ecmascript_prints_them() {
        number(0.0, "0");
        number(-0.0, "0");
        number(f64::from_bits(1), "5e-324");
        number(f64::from_bits(0x8000_0000_0000_0001), "-5e-324");
        number(f64::MAX, "1.7976931348623157e+308");
        number(9007199254740992.0, "9007199254740992");
        number(f64::from_bits(0x4430_0000_0000_0000), "295147905179352830000");
        number(f64::from_bits(0x44b5_2d02_c7e1_4af5), "9.999999999999997e+22");
        number(1e23, "1e+23");
        number(f64::from_bits(0x444b_1ae4_d6e2_ef4e), "999999999999999700000");
        number(f64::from_bits(0x444b_1ae4_d6e2_ef50), "1e+21");
        number(f64::from_bits(0x3eb0_c6f7_a0b5_ed8c), "9.999999999999997e-7");
        number(0.000001, "0.000001");
        number(f64::from_bits(0x41b3_de43_5555_5553), "333333333.3333332");
        number(f64::from_bits(0x41b3_de43_5555_5554), "333333333.33333325");
        number(f64::from_bits(0x41b3_de43_5555_5555), "333333333.3333333");
        number(f64::from_bits(0x41b3_de43_5555_5556), "333333333.3333334");
        number(f64::from_bits(0x41b3_de43_5555_5557), "333333333.33333343");
        number(-0.0000033333333333333333, "-0.0000033333333333333333");
        number(1424953923781206.2, "1424953923781206.2");
        number(4.5, "4.5");
        number(2e-3, "0.002");
    }

    #[test]
    fn integers_are_numbers_like_any_other() {
        assert_eq!(
            to_string(&json!([1, -1, 100, 9007199254740993u64, u64::MAX])),
            "[1,-1,100,9007199254740992,18446744073709552000]"
        );
    }

    #[test]
    fn members_are_sorted_by_utf16_code_units() {
        let value = json!({"\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control", "\u{f6}": "Latin Small Letter O With Diaeresis"});
        let text = to_string(&value);
        let order: Vec<usize> = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"]
            .iter()
            .map(|word| text.find(word).expect("present"))
            .collect();
        assert!(order.is_sorted(), "{text}");
    }

    #[test]
    fn strings_are_escaped_as_little_as_possible() {
        assert_eq!(
            to_string(&json!("\u{20ac}$\u{f}\nA'B\"\\\"/\u{7f}")),
            "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\"/\u{7f}\""
        );
    }

    #[test]
    fn spaces_and_order_do_not_matter() {
        let a: Value = serde_json::from_str(r#"{ "b": [1.0, {"y":null,"x":true}], "a": "z" }"#).expect("valid");
        assert_eq!(to_string(&a), r#"{"a":"z","b":[1,{"x":true,"y":null}]}"#);
    }
}
