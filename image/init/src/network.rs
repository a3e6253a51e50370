//! The network: loopback, one Ethernet interface, its address by DHCP or from the command line, resolv.conf.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use crate::cmdline::Static;
use crate::dhcp::{Action, Client, Lease};
use crate::{console, sys};

const RESOLV: &str = "/run/resolv.conf";
/// Discovers without an answer before the fixed address is taken.
const TRIES_BEFORE_FIXED: u32 = 4;

/// The configured interface, polled by the event loop. Absent hardware is a machine without network, not an error.
pub(crate) struct Network {
    link: Option<Link>,
    fixed: Option<Static>,
}

struct Link {
    name: String,
    pub(crate) socket: UdpSocket,
    client: Client,
}

impl Network {
    /// Switches the links on and sends the first discover; never waits.
    pub(crate) fn start(fixed: Option<Static>) -> Network {
        let link = match open_link() {
            Ok(Some(link)) => Some(link),
            Ok(None) => {
                console::say("network: no Ethernet interface");
                None
            }
            Err(cause) => {
                console::say(&format!("network: {cause}"));
                None
            }
        };
        let mut network = Network { link, fixed };
        network.on_time();
        network
    }

    pub(crate) fn socket(&self) -> Option<&UdpSocket> {
        self.link.as_ref().map(|link| &link.socket)
    }

    /// When `on_time` is due, on the monotonic clock.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.link.as_ref().map(|link| link.client.deadline())
    }

    pub(crate) fn on_time(&mut self) {
        let Some(link) = &mut self.link else { return };
        if link.client.tries >= TRIES_BEFORE_FIXED
            && let Some(fixed) = self.fixed.take()
        {
            console::say("network: no DHCP server answered, taking the address of the command line");
            link.configure(fixed.address, mask(fixed.prefix), fixed.gateway, &[]);
            self.link = None;
            return;
        }
        if let Some(action) = link.client.on_time(crate::run::now()) {
            link.act(action);
        }
    }

    /// Reads what is waiting, a few packets at most: a flood must not keep the loop from its other work.
    pub(crate) fn on_readable(&mut self) {
        let Some(link) = &mut self.link else { return };
        let mut buffer = [0; 1500];
        for _ in 0..8 {
            let Ok((length, _)) = link.socket.recv_from(&mut buffer) else { return };
            let packet = buffer.get(..length).unwrap_or_default();
            if let Some(action) = link.client.on_packet(crate::run::now(), packet) {
                link.act(action);
            }
        }
    }
}

impl Link {
    fn act(&mut self, action: Action) {
        match action {
            Action::Send(packet) => {
                if let Err(cause) = self.socket.send_to(&packet, (Ipv4Addr::BROADCAST, 67)) {
                    console::say(&format!("network: DHCP on {}: {cause}", self.name));
                }
            }
            Action::Configure(Lease { address, mask, router, dns, .. }) => self.configure(address, mask, router, &dns),
            Action::Release => {
                console::say(&format!("network: lease of {} ended", self.name));
                if let Err(cause) =
                    sys::interface_address(&self.socket, &self.name, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED)
                {
                    console::say(&format!("network: release {}: {cause}", self.name));
                }
            }
        }
    }

    fn configure(&self, address: Ipv4Addr, mask: Ipv4Addr, router: Option<Ipv4Addr>, dns: &[Ipv4Addr]) {
        let result = sys::interface_address(&self.socket, &self.name, address, mask)
            .and_then(|()| router.map_or(Ok(()), |router| sys::default_route(&self.socket, router)))
            .and_then(|()| {
                fs::write(RESOLV, dns.iter().map(|server| format!("nameserver {server}\n")).collect::<String>())
            });
        match result {
            Ok(()) => console::say(&format!("network: {} has {address}/{}", self.name, u32::from(mask).leading_ones())),
            Err(cause) => console::say(&format!("network: configure {} as {address}: {cause}", self.name)),
        }
    }
}

fn mask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0))
}

fn open_link() -> std::io::Result<Option<Link>> {
    let control = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    sys::interface_up(&control, "lo")?;
    let Some((name, mac)) = ethernet(Path::new("/sys/class/net")) else { return Ok(None) };
    sys::interface_up(&control, &name)?;
    let mut transaction = [0; 4];
    fs::File::open("/dev/urandom")?.read_exact(&mut transaction)?;
    let socket = sys::dhcp_socket(&name)?;
    Ok(Some(Link { name, socket, client: Client::new(mac, u32::from_ne_bytes(transaction), crate::run::now()) }))
}

/// The first Ethernet interface by name, with its hardware address.
fn ethernet(class: &Path) -> Option<(String, [u8; 6])> {
    let mut names: Vec<String> =
        fs::read_dir(class).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names.into_iter().filter(|name| name != "lo").find_map(|name| {
        let ethernet = fs::read_to_string(class.join(&name).join("type")).is_ok_and(|kind| kind.trim() == "1");
        let text = fs::read_to_string(class.join(&name).join("address")).ok()?;
        hardware_address(text.trim()).filter(|_| ethernet).map(|mac| (name, mac))
    })
}

fn hardware_address(text: &str) -> Option<[u8; 6]> {
    let bytes: Result<Vec<u8>, _> = text.split(':').map(|part| u8::from_str_radix(part, 16)).collect();
    bytes.ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_follow_prefixes() {
        assert_eq!(mask(32), Ipv4Addr::BROADCAST);
        assert_eq!(mask(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(mask(1), Ipv4Addr::new(128, 0, 0, 0));
    }

    #[test]
    fn hardware_addresses_have_six_bytes() {
        assert_eq!(hardware_address("52:54:00:12:34:56"), Some([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        assert_eq!(hardware_address("52:54:00:12:34"), None);
        assert_eq!(hardware_address("zz:54:00:12:34:56"), None);
    }
}
