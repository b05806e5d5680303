//! Tables in Markdown.

use std::time::Duration;

/// A table with its heading; all columns but the first are figures.
pub fn table(title: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rule: Vec<String> = (0..head.len())
        .map(|n| if n == 0 { "---" } else { "---:" }.to_owned())
        .collect();
    let rows: String = rows.iter().map(|row| line(row)).collect();
    format!("\n### {title}\n\n{}{}{rows}", line(&head), line(&rule))
}

/// `4.21 ms`, `1.83 s`.
pub fn time(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 1000.0 {
        format!("{millis:.2} ms")
    } else {
        format!("{:.2} s", millis / 1000.0)
    }
}

/// `8.4 MiB`.
pub fn mib(mib: f64) -> String {
    format!("{mib:.1} MiB")
}
