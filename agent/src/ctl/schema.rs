//! `agentctl schema`.

use super::console::Console;
use super::failure::Failure;

/// Prints the JSON Schema of fleet documents.
pub fn schema(console: Console) -> Result<u8, Failure> {
    let mut text = serde_json::to_string_pretty(&crate::fleet::schema())
        .map_err(|error| Failure::because("cannot write JSON", error))?;
    text.push('\n');
    console.print_text(&text)?;
    Ok(0)
}
