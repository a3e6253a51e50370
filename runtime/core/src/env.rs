//! Which environment variables a caller may add to a sandbox.
//!
//! Names that steer the loader, Bun itself, proxies or TLS are refused: the sandbox's way to start is not the caller's to change.

use std::collections::BTreeMap;

/// Most variables one run may add.
pub const COUNT_MAX: usize = 128;
/// Longest value, bytes.
pub const VALUE_BYTES_MAX: usize = 32 << 10;
/// Longest name, bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Names, values and separators together, bytes.
pub const TOTAL_BYTES_MAX: usize = 128 << 10;

const REFUSED_PREFIXES: [&str; 4] = ["LD_", "BUN_", "NODE_", "SSL_"];
const REFUSED_SUFFIX: &str = "_PROXY";
// Read by the loader, like LD_*; and where the guest door is.
const REFUSED_NAMES: [&str; 2] = ["GLIBC_TUNABLES", "ARIA_DOOR"];

/// Why an environment is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EnvError {
    /// Not `[A-Za-z_][A-Za-z0-9_]*`, or too long.
    #[error("environment variable name {name:?} is not [A-Za-z_][A-Za-z0-9_]*, at most {NAME_BYTES_MAX} bytes")]
    Name {
        /// The name, cut.
        name: String,
    },
    /// Reserved for the device.
    #[error(
        "environment variable {name} is reserved: LD_*, BUN_*, NODE_*, SSL_*, *_PROXY, GLIBC_TUNABLES and ARIA_DOOR cannot be set"
    )]
    Reserved {
        /// The name.
        name: String,
    },
    /// Has a NUL, or is too long.
    #[error("value of environment variable {name} has a NUL byte or more than {VALUE_BYTES_MAX} bytes")]
    Value {
        /// The name.
        name: String,
    },
    /// Too many, or too long together.
    #[error("environment of {count} variables and {bytes} bytes, limits are {COUNT_MAX} and {TOTAL_BYTES_MAX}")]
    TooLarge {
        /// How many.
        count: usize,
        /// All of them.
        bytes: usize,
    },
}

/// Checks all variables a caller wants to add. Reserved names are refused in either case, because `http_proxy` works like `HTTP_PROXY`.
pub fn check(env: &BTreeMap<String, String>) -> Result<(), EnvError> {
    let bytes = env.iter().map(|(name, value)| name.len().saturating_add(value.len()).saturating_add(2)).sum();
    if env.len() > COUNT_MAX || bytes > TOTAL_BYTES_MAX {
        return Err(EnvError::TooLarge { count: env.len(), bytes });
    }
    env.iter().try_for_each(|(name, value)| check_one(name, value))
}

fn check_one(name: &str, value: &str) -> Result<(), EnvError> {
    let shown = || name.chars().take(64).collect::<String>();
    let letter = |b: &u8| b.is_ascii_alphabetic() || *b == b'_';
    let good = name.as_bytes().first().is_some_and(letter)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.len() <= NAME_BYTES_MAX;
    if !good {
        return Err(EnvError::Name { name: shown() });
    }
    let upper = name.to_ascii_uppercase();
    let reserved = REFUSED_PREFIXES.iter().any(|prefix| upper.starts_with(prefix))
        || upper.ends_with(REFUSED_SUFFIX)
        || REFUSED_NAMES.contains(&upper.as_str());
    if reserved {
        return Err(EnvError::Reserved { name: shown() });
    }
    if value.contains('\0') || value.len() > VALUE_BYTES_MAX {
        return Err(EnvError::Value { name: shown() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Result<(), EnvError> {
        check(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn ordinary_names_pass() {
        for name in ["A", "_x", "KEY_1", "PROXY", "HTTP_PROXY_NAME", "MY_LD_PATH", "NODEX", "SSLX", "LD", "lower"] {
            assert_eq!(one(name, "value = ü\n"), Ok(()), "{name}");
        }
        assert_eq!(check(&BTreeMap::new()), Ok(()));
    }

    #[test]
    fn names_that_steer_the_start_are_reserved_in_any_case() {
        for name in [
            "LD_PRELOAD",
            "ld_preload",
            "BUN_OPTIONS",
            "NODE_OPTIONS",
            "HTTP_PROXY",
            "https_proxy",
            "no_Proxy",
            "SSL_CERT_FILE",
            "GLIBC_TUNABLES",
        ] {
            assert_eq!(one(name, "x"), Err(EnvError::Reserved { name: name.into() }));
        }
    }

    #[test]
    fn other_names_are_no_names() {
        for name in ["", "1A", "A-B", "A=B", "A B", "Ä", "A\0", "A\n"] {
            assert_eq!(one(name, "x"), Err(EnvError::Name { name: name.into() }));
        }
        assert!(matches!(one(&"A".repeat(256), ""), Err(EnvError::Name { .. })));
    }

    #[test]
    fn values_and_sums_are_bounded() {
        assert_eq!(one("A", "x\0y"), Err(EnvError::Value { name: "A".into() }));
        assert_eq!(one("A", &"x".repeat(VALUE_BYTES_MAX)), Ok(()));
        assert!(matches!(one("A", &"x".repeat(VALUE_BYTES_MAX + 1)), Err(EnvError::Value { .. })));
        let many = (0..=COUNT_MAX).map(|n| (format!("A{n}"), String::new())).collect();
        assert!(matches!(check(&many), Err(EnvError::TooLarge { count: 129, .. })));
        let large = (0..5).map(|n| (format!("A{n}"), "x".repeat(VALUE_BYTES_MAX))).collect();
        assert!(matches!(check(&large), Err(EnvError::TooLarge { count: 5, .. })));
    }
}
