//! Servers, and sets of them.

/// A server, by the number that the driver gives its name. A name keeps its number for the driver's life. Below 32; 30 is
/// [`ServerId::NAMESAKE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u8);

impl ServerId {
    /// Whoever goes by this server's name and is another machine: a clone, a machine with a wrong name. It stands in no
    /// chain, and cannot be asked, for its name leads here.
    pub const NAMESAKE: Self = Self(30);
}

/// A set of servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Servers(u32);

impl Servers {
    /// The set of one.
    pub const fn of(server: ServerId) -> Self {
        Self(1 << (server.0 % 32))
    }

    /// Whether it is in the set.
    pub const fn contains(self, server: ServerId) -> bool {
        self.0 & Self::of(server).0 != 0
    }

    /// Whether all of `other` are in the set.
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nobody is.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set with `server`.
    #[must_use]
    pub const fn with(self, server: ServerId) -> Self {
        Self(self.0 | Self::of(server).0)
    }

    /// Who is in either.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Who is in this one and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Its members, by number.
    pub fn iter(self) -> impl Iterator<Item = ServerId> {
        (0..32).map(ServerId).filter(move |&id| self.contains(id))
    }
}

impl FromIterator<ServerId> for Servers {
    fn from_iter<I: IntoIterator<Item = ServerId>>(servers: I) -> Self {
        servers.into_iter().fold(Self::default(), Self::with)
    }
}
