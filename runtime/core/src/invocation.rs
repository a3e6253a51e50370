//! The life of one invocation: `queued* granted started (log|output|progress)* finished`; once granted, its lease may be
//! renewed and revoked at any time.
//!
//! The engine is another process; its events are checked against this order before callers see them.

use crate::port::ExecuteEvent;

/// Where an invocation is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum State {
    /// Asked for.
    #[default]
    New,
    /// Waits for its tokens.
    Queued,
    /// Holds its tokens.
    Granted,
    /// Runs.
    Running,
    /// Ended; no event follows.
    Finished,
}

/// An event that cannot come now: the engine has a defect.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("event {event} in state {state:?}")]
pub struct OutOfOrder {
    /// Where the invocation was.
    pub state: State,
    /// What came.
    pub event: &'static str,
}

impl State {
    /// The state after `event`.
    pub fn after(self, event: &ExecuteEvent) -> Result<Self, OutOfOrder> {
        use ExecuteEvent as E;
        match (self, event) {
            (Self::New | Self::Queued, E::Queued { .. }) => Ok(Self::Queued),
            (Self::New | Self::Queued, E::Granted { .. }) => Ok(Self::Granted),
            (Self::Granted, E::Started { .. }) => Ok(Self::Running),
            (Self::Granted | Self::Running, E::Renewed { .. } | E::Revoked { .. }) => Ok(self),
            (Self::Running, E::Stdout(_) | E::Stderr(_) | E::Frame(_)) => Ok(self),
            (Self::Running, E::OutFile { .. } | E::WorkspaceChanges { .. } | E::OutChunk(_)) => Ok(self),
            _ => Err(OutOfOrder { state: self, event: name(event) }),
        }
    }

    /// The end, from wherever it was. A second end is out of order.
    pub fn finish(self) -> Result<Self, OutOfOrder> {
        match self {
            Self::Finished => Err(OutOfOrder { state: self, event: "ended" }),
            _ => Ok(Self::Finished),
        }
    }
}

fn name(event: &ExecuteEvent) -> &'static str {
    match event {
        ExecuteEvent::Queued { .. } => "queued",
        ExecuteEvent::Granted { .. } => "granted",
        ExecuteEvent::Renewed { .. } => "renewed",
        ExecuteEvent::Revoked { .. } => "revoked",
        ExecuteEvent::Started { .. } => "started",
        ExecuteEvent::Stdout(_) | ExecuteEvent::Stderr(_) => "output",
        ExecuteEvent::Frame(_) => "guest frame",
        ExecuteEvent::OutFile { .. } => "out file",
        ExecuteEvent::WorkspaceChanges { .. } => "workspace changes",
        ExecuteEvent::OutChunk(_) => "out chunk",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> [ExecuteEvent; 5] {
        [
            ExecuteEvent::Queued { why: "kv:a is held".into() },
            ExecuteEvent::Granted { lease_id: "l".into(), fence: 1, ttl_ms: 10_000 },
            ExecuteEvent::Started { sandbox_id: "s".into() },
            ExecuteEvent::Stdout(vec![1]),
            ExecuteEvent::OutFile { name: "a".into(), size_bytes: 1 },
        ]
    }

    #[test]
    fn the_whole_life_is_in_order() {
        let end = events().iter().try_fold(State::New, State::after).and_then(State::finish);
        assert_eq!(end, Ok(State::Finished));
    }

    #[test]
    fn waiting_is_optional() {
        let end = events().iter().skip(1).try_fold(State::New, State::after);
        assert_eq!(end, Ok(State::Running));
    }

    #[test]
    fn each_step_can_be_left_out_only_where_the_order_says() {
        for skipped in 1..3 {
            let kept = events().into_iter().enumerate().filter(|(index, _)| *index != skipped).map(|(_, event)| event);
            let end = kept.collect::<Vec<_>>().iter().try_fold(State::New, State::after);
            assert!(end.is_err(), "without event {skipped}");
        }
    }

    #[test]
    fn waiting_may_be_told_again() {
        assert_eq!(State::Queued.after(&ExecuteEvent::Queued { why: "1 ahead".into() }), Ok(State::Queued));
        assert!(State::Granted.after(&ExecuteEvent::Queued { why: "1 ahead".into() }).is_err());
    }

    #[test]
    fn a_lease_changes_only_while_it_is_held() {
        for event in [ExecuteEvent::Renewed { ttl_ms: 1 }, ExecuteEvent::Revoked { reason: "why".into() }] {
            for state in [State::Granted, State::Running] {
                assert_eq!(state.after(&event), Ok(state));
            }
            for state in [State::New, State::Queued, State::Finished] {
                assert!(state.after(&event).is_err());
            }
        }
    }

    #[test]
    fn nothing_follows_the_end() {
        for event in &events() {
            assert!(State::Finished.after(event).is_err());
        }
        assert!(State::Finished.finish().is_err());
    }
}
