//! What one run may send and fetch in all.

use super::EgressError;

/// Bounds of one run's traffic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Budget {
    /// Requests in all, refused ones too.
    pub requests_max: u64,
    /// Requests under way at a time.
    pub concurrent_max: u64,
    /// Bytes of request bodies in all.
    pub up_bytes_max: u64,
    /// Bytes of response bodies in all.
    pub down_bytes_max: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { requests_max: 10_000, concurrent_max: 16, up_bytes_max: 256 << 20, down_bytes_max: 1 << 30 }
    }
}

/// What one run has used of its [`Budget`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Spent {
    requests: u64,
    concurrent: u64,
    up_bytes: u64,
    down_bytes: u64,
}

impl Spent {
    /// A request begins. Each that was allowed is given back once with [`Spent::end`].
    pub fn begin(&mut self, budget: &Budget) -> Result<(), EgressError> {
        let requests = within(self.requests, 1, budget.requests_max, "requests")?;
        let concurrent = within(self.concurrent, 1, budget.concurrent_max, "requests at a time")?;
        (self.requests, self.concurrent) = (requests, concurrent);
        Ok(())
    }

    /// A request is over.
    pub fn end(&mut self) {
        self.concurrent = self.concurrent.saturating_sub(1);
    }

    /// `bytes` of a body are about to be sent.
    pub fn up(&mut self, budget: &Budget, bytes: u64) -> Result<(), EgressError> {
        self.up_bytes = within(self.up_bytes, bytes, budget.up_bytes_max, "bytes to send")?;
        Ok(())
    }

    /// `bytes` of a body came.
    pub fn down(&mut self, budget: &Budget, bytes: u64) -> Result<(), EgressError> {
        self.down_bytes = within(self.down_bytes, bytes, budget.down_bytes_max, "bytes to fetch")?;
        Ok(())
    }
}

fn within(used: u64, more: u64, limit: u64, what: &'static str) -> Result<u64, EgressError> {
    used.checked_add(more).filter(|sum| *sum <= limit).ok_or(EgressError::Budget { what, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget { requests_max: 3, concurrent_max: 2, up_bytes_max: 10, down_bytes_max: 20 };

    #[track_caller]
    fn over(result: Result<(), EgressError>, named: &str) {
        let error = result.unwrap_err();
        assert_eq!(error.reason(), "EGRESS_BUDGET");
        assert!(error.to_string().contains(named), "{error}");
    }

    #[test]
    fn requests_are_counted_at_a_time_and_in_all() {
        let mut spent = Spent::default();
        spent.begin(&BUDGET).unwrap();
        spent.begin(&BUDGET).unwrap();
        over(spent.begin(&BUDGET), "at a time");
        spent.end();
        spent.begin(&BUDGET).unwrap();
        spent.end();
        over(spent.begin(&BUDGET), "requests (3)");
    }

    #[test]
    fn bytes_are_counted_per_direction_to_the_last() {
        let mut spent = Spent::default();
        spent.up(&BUDGET, 10).unwrap();
        over(spent.up(&BUDGET, 1), "send");
        spent.down(&BUDGET, 20).unwrap();
        over(spent.down(&BUDGET, u64::MAX), "fetch");
        assert_eq!(spent.up(&BUDGET, 0), Ok(()));
    }
}
