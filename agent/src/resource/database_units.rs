//! Which services are database servers: while this box is the master nobody stops or restarts them on the way.

/// Their units without suffix, by all of their names. Each may have instances, `mariadb@two`.
const NAMES: [&str; 4] = ["mariadb", "mariadbd", "mysql", "mysqld"];

/// Whether a unit is a database server's, with or without `.service`.
pub(super) fn is_database_server(unit: &str) -> bool {
    let name = unit.strip_suffix(".service").unwrap_or(unit);
    let template = name.split_once('@').map_or(name, |(template, _)| template);
    NAMES.contains(&template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_servers_are_known_by_all_names_of_their_units() {
        for name in [
            "mariadb",
            "mariadb.service",
            "mariadbd.service",
            "mysqld",
            "mysql",
            "mariadb@two.service",
            "mysqld@two",
        ] {
            assert!(is_database_server(name), "{name}");
        }
        for name in ["httpd", "php-fpm", "mysql-exporter", "mariadb.socket"] {
            assert!(!is_database_server(name), "{name}");
        }
    }
}
