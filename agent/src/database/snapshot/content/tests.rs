//! Dumps as the tools write them, and as they would be if something were wrong.

use super::*;

const DUMP: &str = r"/*M!999999\- enable the sandbox mode */ 
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
-- CHANGE MASTER TO MASTER_LOG_FILE='b.000001', MASTER_LOG_POS=1254;

--
-- Current Database: `shop`
--

CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop`;

USE `shop`;

--
-- Dumping data for table `empty`
--

LOCK TABLES `empty` WRITE;
UNLOCK TABLES;

--
-- Dumping data for table `o``dd`
--

LOCK TABLES `o``dd` WRITE;
INSERT INTO `o``dd` VALUES
(1,'a\nb\'c;),(\\',0x000A5C,1.12346),
(2,NULL,')',2);
INSERT INTO `o``dd` (`VALUES`,`b`) VALUES (3,'x'),(4,'it''s');
UNLOCK TABLES;
DELIMITER ;;
CREATE PROCEDURE `p`()
BEGIN
INSERT INTO `o``dd` VALUES (5,'no row');
-- Current Database: `other`
-- Dump completed
END ;;
DELIMITER ;

--
-- Current Database: `leer`
--

CREATE DATABASE `leer`;

/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;

-- Dump completed on 2026-11-30 13:58:47
";

fn scan(text: &str) -> Result<Content, Incomplete> {
    let mut scan = Scan::default();
    scan.feed(text.as_bytes());
    scan.finish()
}

#[test]
fn rows_are_counted_whatever_is_in_them() {
    let content = scan(DUMP).unwrap();
    let names: Vec<&str> = content.schemas.keys().map(String::as_str).collect();
    assert_eq!(names, ["leer", "shop"]);
    let shop = &content.schemas["shop"];
    let rows: Vec<(&str, u64)> = shop
        .tables
        .iter()
        .map(|(name, table)| (name.as_str(), table.rows))
        .collect();
    assert_eq!(rows, [("empty", 0), ("o`dd", 4)]);
    assert!(content.schemas["leer"].tables.is_empty());
    assert_eq!(content.size(), (2, 4));
}

#[test]
fn pieces_say_what_the_whole_says() {
    let whole = scan(DUMP).unwrap();
    for size in [1, 2, 3, 7, 64, 1000] {
        let mut scan = Scan::default();
        DUMP.as_bytes()
            .chunks(size)
            .for_each(|piece| scan.feed(piece));
        assert_eq!(scan.finish().unwrap(), whole, "pieces of {size}");
    }
}

#[test]
fn how_rows_are_ordered_and_put_together_makes_no_difference_and_all_else_does() {
    let whole = scan(DUMP).unwrap();
    let same = DUMP.replace(
        " VALUES (3,'x'),(4,'it''s');",
        " VALUES\n(4,'it''s');\nINSERT INTO `o``dd` (`VALUES`,`b`) VALUES\n(3,'x');",
    );
    assert_ne!(same, DUMP);
    assert_eq!(scan(&same).unwrap(), whole);
    assert!(whole.differences(&scan(&same).unwrap(), 9).is_empty());
    for (from, to, told) in [
        ("(3,'x'),", "", "shop.o`dd has 3 rows instead of 4"),
        ("(3,'x')", "(3,'y')", "shop.o`dd has other rows"),
        ("0x000A5C", "0x000A5D", "shop.o`dd has other rows"),
        (
            "'no row'",
            "'now row'",
            "shop has other definitions (tables, views, routines, triggers or events)",
        ),
        (
            "CREATE DATABASE `leer`;",
            "",
            "leer has other definitions (tables, views, routines, triggers or events)",
        ),
        (
            "-- Dumping data for table `empty`",
            "",
            "the table shop.empty is missing",
        ),
        (
            "-- Current Database: `leer`",
            "-- Current Database: `voll`",
            "the schema leer is missing",
        ),
    ] {
        let other = DUMP.replace(from, to);
        assert_ne!(other, DUMP);
        let told_of = whole.differences(&scan(&other).unwrap(), 9);
        assert_eq!(
            told_of.first().map(String::as_str),
            Some(told),
            "{told_of:?}"
        );
    }
}

#[test]
fn a_dump_that_is_cut_off_anywhere_is_not_complete() {
    let mark = DUMP.rfind("-- Dump completed").unwrap() + "-- Dump completed".len();
    let before = |end| DUMP.get(..end).unwrap();
    for end in 0..mark {
        assert!(scan(before(end)).is_err(), "cut at {end}: {}", before(end));
    }
    assert!(scan(before(mark)).is_ok());
    let more = format!("{DUMP}INSERT INTO `x` VALUES (1);\n");
    assert_eq!(scan(&more), Err(Incomplete::NoEnd));
    assert_eq!(scan("-- Dump completed\n"), Err(Incomplete::Empty));
}

#[test]
fn a_row_that_is_larger_than_any_buffer_is_one_row() {
    let large = "a".repeat(100_000);
    let dump = DUMP.replace("(3,'x')", &format!("(3,'{large}')"));
    let content = scan(&dump).unwrap();
    assert_eq!(content.schemas["shop"].tables["o`dd"].rows, 4);
}
