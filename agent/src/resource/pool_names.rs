//! How a product's pool of php-fpm is called, and where it stands: for who keeps it, and for the sites that hand requests to it.

use std::path::PathBuf;

use crate::fleet::Name;
use crate::system::platform::Php;

/// The file of a product's pool.
pub(super) fn pool_file(product: &Name, php: &Php) -> PathBuf {
    php.pool_dir.join(format!("{}.conf", pool_name(product)))
}

/// The socket of a product's pool.
pub(super) fn socket(product: &Name, php: &Php) -> PathBuf {
    php.socket_dir.join(format!("{}.sock", pool_name(product)))
}

/// The name of a product's pool in php-fpm.
pub(super) fn pool_name(product: &Name) -> String {
    format!("agentd-{product}")
}
