//! Which servers somebody wants to see.

use super::{Balance, ServerHealth, ServerRow};

/// What a server must be to be shown; what is `None` or empty asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// It carries this product.
    pub product: Option<String>,
    /// It has this role.
    pub role: Option<String>,
    /// It stands in this zone.
    pub zone: Option<String>,
    /// It is so.
    pub health: Option<ServerHealth>,
    /// A person should look at it.
    pub problems: bool,
    /// Its name, address or one of its reasons contains this, in whatever case.
    pub text: Option<String>,
}

impl Selection {
    /// Whether it takes all.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this server is one of them.
    pub fn takes(&self, row: &ServerRow) -> bool {
        let is =
            |wanted: &Option<String>, has: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(has);
        is(&self.product, &|wanted| {
            row.products.iter().any(|name| name.as_str() == wanted)
        }) && is(&self.role, &|wanted| {
            row.roles.iter().any(|name| name.as_str() == wanted)
        }) && is(&self.zone, &|wanted| {
            row.zone
                .as_ref()
                .is_some_and(|zone| zone.as_str() == wanted)
        }) && self.health.is_none_or(|health| row.health == health)
            && (!self.problems || row.health.is_problem())
            && is(&self.text, &|wanted| contains(row, wanted))
    }

    /// Whether a balance is about servers that it may take.
    pub(super) fn takes_balance(&self, balance: &Balance) -> bool {
        let is = |wanted: &Option<String>, has: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| has == Some(wanted))
        };
        is(&self.product, Some(balance.product.as_str()))
            && is(
                &self.role,
                balance.role.as_ref().map(crate::fleet::Name::as_str),
            )
    }
}

fn contains(row: &ServerRow, wanted: &str) -> bool {
    let wanted = wanted.to_lowercase();
    row.server.as_str().contains(&wanted)
        || row.address.to_string().contains(&wanted)
        || row
            .reasons
            .iter()
            .any(|reason| reason.to_lowercase().contains(&wanted))
}
