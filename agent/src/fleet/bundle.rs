//! What a server gets as a whole: of each of its products and roles, everything that stands in it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::account::{Group, User};
use super::file::FileEntry;
use super::model::{CronJob, Fleet, Product, Role, Server};
use super::names::{AbsolutePath, AccountName, Name, UnitName};
use super::package::Package;
use super::pointer::Pointer;
use super::service::Service;

/// A product or a role: what its servers get stands in it, each item with the roles that it is for.
#[derive(Debug, Clone, Copy)]
pub enum Bundle<'f> {
    /// A product, by name.
    Product(&'f Name, &'f Product),
    /// A role, by name.
    Role(&'f Name, &'f Role),
}

impl<'f> Bundle<'f> {
    /// Its name.
    pub const fn name(self) -> &'f Name {
        match self {
            Self::Product(name, _) | Self::Role(name, _) => name,
        }
    }

    /// Where it stands in the document.
    pub fn origin(self) -> Pointer {
        let of = match self {
            Self::Product(..) => "products",
            Self::Role(..) => "roles",
        };
        Pointer::of(["signed", of, self.name().as_str()])
    }

    /// Its packages.
    pub fn packages(self) -> &'f [Package] {
        match self {
            Self::Product(_, product) => &product.packages,
            Self::Role(_, role) => &role.packages,
        }
    }

    /// Its files, directories and links.
    pub const fn files(self) -> &'f BTreeMap<AbsolutePath, FileEntry> {
        match self {
            Self::Product(_, product) => &product.files,
            Self::Role(_, role) => &role.files,
        }
    }

    /// Its groups of accounts.
    pub const fn groups(self) -> &'f BTreeMap<AccountName, Group> {
        match self {
            Self::Product(_, product) => &product.groups,
            Self::Role(_, role) => &role.groups,
        }
    }

    /// Its users' accounts.
    pub const fn users(self) -> &'f BTreeMap<AccountName, User> {
        match self {
            Self::Product(_, product) => &product.users,
            Self::Role(_, role) => &role.users,
        }
    }

    /// Its services.
    pub const fn services(self) -> &'f BTreeMap<UnitName, Service> {
        match self {
            Self::Product(_, product) => &product.services,
            Self::Role(_, role) => &role.services,
        }
    }

    /// Its cron jobs.
    pub const fn cron(self) -> &'f BTreeMap<Name, CronJob> {
        match self {
            Self::Product(_, product) => &product.cron,
            Self::Role(_, role) => &role.cron,
        }
    }
}

impl fmt::Display for Bundle<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Product(name, _) => write!(out, "the product `{name}`"),
            Self::Role(name, _) => write!(out, "the role `{name}`"),
        }
    }
}

/// What applies to `server`: its products, then its roles, each once and by name. Those that the document does not
/// describe are left out. An item in them is the server's where [`applies`] says so.
pub fn bundles<'f>(fleet: &'f Fleet, server: &Server) -> Vec<Bundle<'f>> {
    let products: BTreeSet<&Name> = server.products.iter().collect();
    let roles: BTreeSet<&Name> = server.roles.iter().collect();
    let products = products.into_iter().filter_map(|name| {
        let (name, product) = fleet.products.get_key_value(name)?;
        Some(Bundle::Product(name, product))
    });
    let roles = roles.into_iter().filter_map(|name| {
        let (name, role) = fleet.roles.get_key_value(name)?;
        Some(Bundle::Role(name, role))
    });
    products.chain(roles).collect()
}

/// Whether an item that says `on` which roles it is for is one of `server`'s. Without any it is for all.
pub fn applies(on: &[Name], server: &Server) -> bool {
    on.is_empty() || on.iter().any(|role| server.roles.contains(role))
}
