//! DHCPv4, the client's half, as a pure state machine: packets and time in, packets and addresses out.
//!
//! Discover → offer → request → ack; at half the lease the same request again, by broadcast; at its end the address is given up and the search
//! begins anew. Every reply must carry our transaction and hardware address; anything odd is dropped without a word.

use std::net::Ipv4Addr;
use std::time::Duration;

/// What a server granted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) mask: Ipv4Addr,
    pub(crate) router: Option<Ipv4Addr>,
    /// At most three, as resolv.conf takes.
    pub(crate) dns: Vec<Ipv4Addr>,
    pub(crate) seconds: u32,
    server: Ipv4Addr,
}

#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// Broadcast to port 67.
    Send(Vec<u8>),
    Configure(Lease),
    /// The lease ran out: the address must not be used any more.
    Release,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    Selecting,
    Requesting(Lease),
    Bound { lease: Lease, expires: Duration },
}

/// One interface's client. `Duration`s are points in time on the monotonic clock.
pub(crate) struct Client {
    mac: [u8; 6],
    transaction: u32,
    state: State,
    next: Duration,
    /// Discovers sent since the last lease; also the exponent of the back-off.
    pub(crate) tries: u32,
}

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const HEADER: usize = 240;
/// Shorter leases are treated as this long, so a broken server cannot make us flood its network.
const LEASE_SECONDS_MIN: u32 = 60;
const BACKOFF_EXPONENT_MAX: u32 = 6;

impl Client {
    pub(crate) fn new(mac: [u8; 6], transaction: u32, now: Duration) -> Client {
        Client { mac, transaction, state: State::Selecting, next: now, tries: 0 }
    }

    /// When `on_time` wants to be called next.
    pub(crate) fn deadline(&self) -> Duration {
        self.next
    }

    pub(crate) fn on_time(&mut self, now: Duration) -> Option<Action> {
        if now < self.next {
            return None;
        }
        match &self.state {
            State::Selecting | State::Requesting(_) => {
                self.state = State::Selecting;
                self.next = now + Duration::from_secs(1 << self.tries.min(BACKOFF_EXPONENT_MAX));
                self.tries = self.tries.saturating_add(1);
                Some(Action::Send(self.packet(DISCOVER, None)))
            }
            State::Bound { expires, .. } if now >= *expires => {
                self.state = State::Selecting;
                self.next = now;
                self.tries = 0;
                Some(Action::Release)
            }
            State::Bound { lease, expires } => {
                let request = self.packet(REQUEST, Some(lease));
                self.next = (now + (*expires - now) / 2).max(now + Duration::from_secs(10)).min(*expires);
                Some(Action::Send(request))
            }
        }
    }

    pub(crate) fn on_packet(&mut self, now: Duration, bytes: &[u8]) -> Option<Action> {
        let (kind, lease) = self.read(bytes)?;
        match (kind, &self.state) {
            (OFFER, State::Selecting) => {
                let lease = lease?;
                let request = self.packet(REQUEST, Some(&lease));
                self.state = State::Requesting(lease);
                self.next = now + Duration::from_secs(4);
                Some(Action::Send(request))
            }
            (ACK, State::Requesting(asked) | State::Bound { lease: asked, .. }) => {
                let lease = lease.filter(|lease| lease.address == asked.address)?;
                let held = Duration::from_secs(lease.seconds.into());
                self.next = now + held / 2;
                self.state = State::Bound { lease: lease.clone(), expires: now + held };
                self.tries = 0;
                Some(Action::Configure(lease))
            }
            (NAK, State::Requesting(_)) => {
                self.state = State::Selecting;
                self.next = now + Duration::from_secs(1);
                None
            }
            (NAK, State::Bound { .. }) => {
                self.state = State::Selecting;
                self.next = now;
                Some(Action::Release)
            }
            _ => None,
        }
    }

    fn packet(&self, kind: u8, lease: Option<&Lease>) -> Vec<u8> {
        let mut packet = vec![0; HEADER];
        packet[..4].copy_from_slice(&[1, 1, 6, 0]);
        packet[4..8].copy_from_slice(&self.transaction.to_be_bytes());
        // The broadcast flag: we cannot hear unicast before we have the address.
        packet[10] = 0x80;
        packet[28..34].copy_from_slice(&self.mac);
        packet[236..HEADER].copy_from_slice(&COOKIE);
        packet.extend([53, 1, kind]);
        if let Some(lease) = lease {
            packet.extend([50, 4]);
            packet.extend(lease.address.octets());
            packet.extend([54, 4]);
            packet.extend(lease.server.octets());
        }
        packet.extend([55, 5, 1, 3, 6, 51, 54, 255]);
        packet
    }

    /// Message kind and, where the message grants one, its lease.
    fn read(&self, bytes: &[u8]) -> Option<(u8, Option<Lease>)> {
        let header = bytes.get(..HEADER)?;
        let ours = header[0] == 2
            && header[4..8] == self.transaction.to_be_bytes()
            && header[28..34] == self.mac
            && header[236..] == COOKIE;
        if !ours {
            return None;
        }
        let options = Options { rest: bytes.get(HEADER..)? };
        let (mut kind, mut mask, mut router, mut dns, mut seconds, mut server) =
            (None, None, None, Vec::new(), None, None);
        for (code, value) in options {
            match code {
                1 => mask = address(value),
                3 => router = address(value),
                6 => dns = value.chunks_exact(4).take(3).filter_map(address).collect(),
                51 => seconds = <[u8; 4]>::try_from(value).ok().map(u32::from_be_bytes),
                53 => kind = value.first().copied(),
                54 => server = address(value),
                _ => {}
            }
        }
        let given = address(&header[16..20]).filter(|given| usable(*given));
        let mask = mask.filter(|mask| u32::from(*mask).leading_ones() + u32::from(*mask).trailing_zeros() == 32);
        let lease = given.zip(mask).zip(seconds).zip(server).map(|(((address, mask), seconds), server)| Lease {
            address,
            mask,
            router: router.filter(|router| usable(*router)),
            dns,
            seconds: seconds.max(LEASE_SECONDS_MIN),
            server,
        });
        Some((kind?, lease))
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.get(..4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(Ipv4Addr::from)
}

fn usable(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.is_broadcast() || address.is_loopback())
}

/// The option list of a packet; ends at the end mark or at the first option that does not fit.
struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((0, rest)) = self.rest.split_first() {
            self.rest = rest;
        }
        let (code, rest) = self.rest.split_first().filter(|(code, _)| **code != 255)?;
        let (length, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        self.rest = rest;
        Some((*code, value))
    }
}

#[cfg(test)]
#[path = "dhcp_test.rs"]
mod tests;
