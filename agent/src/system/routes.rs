//! Which of this machine's addresses leads to where. Asked of the kernel; nothing is sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The address of this machine that it would speak to `target` from: `target` itself where that is one of its own.
/// `None`: there is no way there, or only the machine itself is meant.
pub fn own_address_towards(target: IpAddr) -> Option<IpAddr> {
    let any = match target {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    // Connecting a socket for datagrams only looks up the route. Any port will do.
    socket.connect(SocketAddr::new(target, 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_itself_is_no_address_for_others() {
        assert_eq!(own_address_towards("127.0.0.1".parse().unwrap()), None);
        assert_eq!(own_address_towards("127.8.8.8".parse().unwrap()), None);
    }
}
