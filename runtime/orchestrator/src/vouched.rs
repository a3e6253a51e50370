//! Who vouches for what runs, so that revoking a key ends what it vouched for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aria_core::Digest;
use tokio_util::sync::CancellationToken;

/// By the key that vouches. At most one entry for each signer the device knows.
#[derive(Debug, Default)]
pub(crate) struct Vouched(Mutex<HashMap<Digest, CancellationToken>>);

impl Vouched {
    /// What tells a run that the key was revoked. Taken before the key is looked up, so that no revocation falls between.
    pub(crate) fn by(&self, key: Option<Digest>) -> CancellationToken {
        let Some(key) = key else { return CancellationToken::new() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
    }

    /// Ends everything the key vouches for.
    pub(crate) fn revoke(&self, key: &Digest) {
        let ended = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(ended) = ended {
            ended.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_ends_its_own_and_nothing_else() {
        let vouched = Vouched::default();
        let [one, two] = [1, 2].map(|n| Digest::new([n; 32]));
        let (first, second, other) = (vouched.by(Some(one)), vouched.by(Some(one)), vouched.by(Some(two)));
        let nobody = vouched.by(None);
        vouched.revoke(&one);
        assert!(first.is_cancelled() && second.is_cancelled());
        assert!(!other.is_cancelled() && !nobody.is_cancelled() && !vouched.by(Some(one)).is_cancelled());
    }
}
