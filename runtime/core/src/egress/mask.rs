//! Hides secrets in a stream of bytes: whatever a server echoes of what the proxy added must not reach the cage.

/// What a hidden byte becomes. Lengths do not change, so a stated Content-Length still holds.
const HIDDEN: u8 = b'*';

/// Replaces every occurrence of the secrets, also across the pieces of a stream. Holds back only what could be the beginning of a
/// secret, so that a stream of events is not delayed.
pub struct Mask {
    secrets: Vec<zeroize::Zeroizing<Vec<u8>>>,
    /// The end of what came, as long as it could become a secret.
    held: zeroize::Zeroizing<Vec<u8>>,
    /// Which bytes of `held` are part of a secret already.
    hidden: Vec<bool>,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Mask").field("secrets", &self.secrets.len()).finish_non_exhaustive()
    }
}

impl Mask {
    /// Hides these; empty ones are nothing.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let secrets = secrets.into_iter().filter(|secret| !secret.is_empty()).map(zeroize::Zeroizing::new).collect();
        Self { secrets, held: zeroize::Zeroizing::default(), hidden: Vec::new() }
    }

    /// Whether there is anything to hide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// The next piece, as far as it is decided.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        if self.secrets.is_empty() {
            return piece.to_vec();
        }
        self.held.extend_from_slice(piece);
        self.hidden.resize(self.held.len(), false);
        self.find();
        self.take(self.held.len() - self.undecided())
    }

    /// What was held back; the stream is over.
    pub fn finish(&mut self) -> Vec<u8> {
        self.take(self.held.len())
    }

    /// One whole text.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let secrets = self.secrets.iter().map(|secret| secret.to_vec());
        let mut one = Self::new(secrets);
        let mut bytes = one.push(text.as_bytes());
        bytes.extend(one.finish());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Marks every secret in what is held. Nothing is overwritten yet, because secrets may overlap.
    fn find(&mut self) {
        for secret in &self.secrets {
            for at in 0..(self.held.len() + 1).saturating_sub(secret.len()) {
                let place = at..at + secret.len();
                if self.held.get(place.clone()) == Some(secret.as_slice())
                    && let Some(marks) = self.hidden.get_mut(place)
                {
                    marks.fill(true);
                }
            }
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let marks = self.hidden.drain(..length);
        self.held.drain(..length).zip(marks).map(|(byte, hidden)| if hidden { HIDDEN } else { byte }).collect()
    }

    /// The length of the longest end that begins a secret.
    fn undecided(&self) -> usize {
        let begins = |secret: &[u8]| {
            let longest = self.held.len().min(secret.len().saturating_sub(1));
            (1..=longest)
                .rev()
                .find(|length| secret.get(..*length) == self.held.get(self.held.len() - length..))
                .unwrap_or(0)
        };
        self.secrets.iter().map(|secret| begins(secret)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(secrets: &[&str], text: &str, expected: &str) {
        for size in 1..=text.len().max(1) {
            let mut mask = Mask::new(secrets.iter().map(|secret| secret.as_bytes().to_vec()));
            let mut out: Vec<u8> = text.as_bytes().chunks(size).flat_map(|piece| mask.push(piece)).collect();
            out.extend(mask.finish());
            assert_eq!(String::from_utf8(out).unwrap(), expected, "pieces of {size}");
        }
    }

    #[test]
    fn secrets_are_hidden_whatever_the_cuts() {
        check(&["hunter2"], "a hunter2 and hunter2", "a ******* and *******");
        check(&["hunter2"], "hunter hunter3 hunter2", "hunter hunter3 *******");
        check(&["aab"], "aaaab", "aa***");
        check(&["abc", "cde"], "abcde", "*****");
        check(&["abcd", "bc"], "abce abcd bc", "a**e **** **");
        check(&["abab"], "ababab", "******");
        check(&["x"], "", "");
        check(&[""], "as it is", "as it is");
        check(&[], "as it is", "as it is");
    }

    #[test]
    fn only_the_beginning_of_a_secret_is_held_back() {
        let mut mask = Mask::new([b"secret".to_vec()]);
        assert_eq!(mask.push(b"data: 1\n\n"), b"data: 1\n\n");
        assert_eq!(mask.push(b"data: sec"), b"data: ");
        assert_eq!(mask.push(b"ond"), b"second");
    }

    #[test]
    fn texts_and_its_own_debug_form_are_clean() {
        let mask = Mask::new([b"hunter2".to_vec()]);
        assert_eq!(mask.text("is hunter2?"), "is *******?");
        assert!(!format!("{mask:?}").contains("hunter2"));
    }
}
