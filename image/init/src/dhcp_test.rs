//! The client against a scripted server.

use super::*;

const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const US: [u8; 4] = [10, 0, 2, 15];

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn reply(kind: u8, lease_seconds: u32) -> Vec<u8> {
    let mut packet = vec![0; HEADER];
    packet[0] = 2;
    packet[4..8].copy_from_slice(&7u32.to_be_bytes());
    packet[16..20].copy_from_slice(&US);
    packet[28..34].copy_from_slice(&MAC);
    packet[236..HEADER].copy_from_slice(&COOKIE);
    packet.extend([
        53, 1, kind, 0, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 6, 4, 10, 0, 2, 3, 54, 4, 10, 0, 2, 2, 51, 4,
    ]);
    packet.extend(lease_seconds.to_be_bytes());
    packet.push(255);
    packet
}

fn client() -> Client {
    let mut client = Client::new(MAC, 7, at(0));
    assert!(matches!(client.on_time(at(0)), Some(Action::Send(_))));
    client
}

fn bound(seconds: u32) -> Client {
    let mut client = client();
    assert!(matches!(client.on_packet(at(0), &reply(OFFER, seconds)), Some(Action::Send(_))));
    assert!(matches!(client.on_packet(at(0), &reply(ACK, seconds)), Some(Action::Configure(_))));
    client
}

#[test]
fn four_packets_make_a_lease() {
    let mut client = client();
    let Some(Action::Send(request)) = client.on_packet(at(0), &reply(OFFER, 3600)) else { panic!("no request") };
    assert!(request.windows(6).any(|part| part == [50, 4, 10, 0, 2, 15]), "the request names the offered address");
    let Some(Action::Configure(lease)) = client.on_packet(at(0), &reply(ACK, 3600)) else { panic!("no lease") };
    assert_eq!((lease.address, lease.mask), (US.into(), Ipv4Addr::new(255, 255, 255, 0)));
    assert_eq!(
        (lease.router, lease.dns, lease.seconds),
        (Some(Ipv4Addr::new(10, 0, 2, 2)), vec![Ipv4Addr::new(10, 0, 2, 3)], 3600)
    );
    assert_eq!(client.deadline(), at(1800));
}

#[test]
fn the_lease_is_renewed_at_half_time() {
    let mut client = bound(3600);
    assert!(matches!(client.on_time(at(1800)), Some(Action::Send(_))));
    assert!(matches!(client.on_packet(at(1801), &reply(ACK, 3600)), Some(Action::Configure(_))));
    assert_eq!(client.deadline(), at(1801 + 1800));
}

#[test]
fn an_unrenewed_lease_ends() {
    let mut client = bound(100);
    let (mut now, mut sent) = (at(0), 0);
    let last = loop {
        now = now.max(client.deadline());
        match client.on_time(now) {
            Some(Action::Send(_)) if sent < 20 => sent += 1,
            other => break other,
        }
    };
    assert_eq!((last, now), (Some(Action::Release), at(100)));
    assert!(matches!(client.on_time(now), Some(Action::Send(_))), "then the search begins again");
}

#[test]
fn silence_is_asked_ever_more_slowly() {
    let mut client = client();
    let mut gaps = Vec::new();
    let mut now = at(0);
    for _ in 0..8 {
        gaps.push((client.deadline() - now).as_secs());
        now = client.deadline();
        client.on_time(now);
    }
    assert_eq!(gaps, [1, 2, 4, 8, 16, 32, 64, 64]);
}

#[test]
fn a_refusal_starts_over() {
    let mut client = bound(3600);
    assert_eq!(client.on_packet(at(10), &reply(NAK, 0)), Some(Action::Release));
    assert!(matches!(client.on_time(at(10)), Some(Action::Send(_))));
}

#[test]
fn packets_for_others_are_dropped() {
    for (place, value) in [(0, 1), (4, 9), (28, 9), (236, 0)] {
        let mut packet = reply(OFFER, 3600);
        packet[place] = value;
        assert_eq!(client().on_packet(at(0), &packet), None, "byte {place}");
    }
}

#[test]
fn an_ack_for_another_address_is_dropped() {
    let mut client = client();
    client.on_packet(at(0), &reply(OFFER, 3600));
    let mut packet = reply(ACK, 3600);
    packet[19] = 99;
    assert_eq!(client.on_packet(at(0), &packet), None);
}

#[test]
fn unusable_offers_are_dropped() {
    for address in [[0, 0, 0, 0], [255; 4], [224, 0, 0, 1], [127, 0, 0, 1]] {
        let mut packet = reply(OFFER, 3600);
        packet[16..20].copy_from_slice(&address);
        assert_eq!(client().on_packet(at(0), &packet), None);
    }
    let mut holes = reply(OFFER, 3600);
    let mask = holes.windows(4).position(|part| part == [255, 255, 255, 0]).unwrap();
    holes[mask + 1] = 0;
    assert_eq!(client().on_packet(at(0), &holes), None, "a mask with holes");
}

#[test]
fn truncated_packets_never_panic() {
    let whole = reply(ACK, 3600);
    for length in 0..whole.len() {
        let _ = client().on_packet(at(0), &whole[..length]);
    }
}

#[test]
fn tiny_leases_do_not_flood() {
    assert_eq!(bound(0).deadline(), at(u64::from(LEASE_SECONDS_MIN) / 2));
}
