//! Unix sockets at paths of any length, and connecting without ever waiting.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_fd, socket,
};

/// The kernel's room for a socket's path, the final NUL included.
const PATH_ROOM: usize = 108;

/// Connects to the socket at `path`. Where the listener's queue is full, fails with `WouldBlock` instead of waiting.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let (path, _directory) = reachable(path)?;
    let fd: OwnedFd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    connect_fd(fd.as_raw_fd(), &UnixAddr::new(&path)?)?;
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Listens at `path`, which must not exist. Non-blocking.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let (path, _directory) = reachable(path)?;
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A path to the same socket that fits into an address: a deep root's would not. Holds while the file is open.
fn reachable(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if path.as_os_str().len() >= PATH_ROOM => {
            let directory = File::open(parent)?;
            let short = format!("/proc/self/fd/{}", directory.as_raw_fd());
            Ok((Path::new(&short).join(name), Some(directory)))
        }
        _ => Ok((path.into(), None)),
    }
}
