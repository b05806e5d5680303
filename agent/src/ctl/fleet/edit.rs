//! Editing the published document: a copy, the editor, the check, again until it is right; nothing that was written is lost.

use super::super::args::PublishArgs;
use super::super::failure::Failure;
use super::super::validate;
use super::ask;
use super::desk::Desk;
use super::publish::{self, Basis};
use crate::fleet::Draft;
use crate::system::interactive;

/// What edits where nobody says.
const EDITOR: &str = "vi";

/// Edits and publishes.
pub(super) async fn edit(desk: &Desk, how: &PublishArgs) -> Result<u8, Failure> {
    let published = desk.published().await?;
    let version = published.good("what is published")?.id.version;
    let cannot = |error| Failure::because("cannot make a copy to edit", error);
    let file = std::env::temp_dir().join(format!(
        "fleet-{version}-{}.json",
        hex::encode(fastrand::u64(..).to_be_bytes())
    ));
    // New, and nobody else's: in a directory of all.
    let mut copy = std::fs::File::create_new(&file).map_err(cannot)?;
    std::io::Write::write_all(&mut copy, &published.bytes).map_err(cannot)?;
    drop(copy);
    let kept = || format!("what you wrote is kept in {}", file.display());
    let editor = ["VISUAL", "EDITOR"]
        .into_iter()
        .find_map(|name| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.trim().is_empty())
        })
        .unwrap_or_else(|| EDITOR.into());
    loop {
        // As git does it: the variable may have arguments.
        let argv = ["sh", "-c", "exec $EDITOR_COMMAND \"$1\"", "sh"].map(str::to_owned);
        let argv: Vec<String> = ["env".to_owned(), format!("EDITOR_COMMAND={editor}")]
            .into_iter()
            .chain(argv)
            .chain([file.display().to_string()])
            .collect();
        let status = interactive::hand_over(&argv).map_err(|error| {
            Failure::because(format!("cannot start {editor}"), error).hint(kept())
        })?;
        if !status.success() {
            return Err(
                Failure::new(format!("{editor} failed ({status}): not published")).hint(kept()),
            );
        }
        let (name, bytes) = validate::read(&file)?;
        if bytes == published.bytes {
            std::fs::remove_file(&file).map_err(cannot)?;
            desk.console.note("nothing was changed");
            return Ok(0);
        }
        match Draft::read(&bytes) {
            Ok(_) => {
                let done = publish::publish(desk, &name, &bytes, how, Basis::ItsVersion).await;
                let code = done.inspect_err(|_| desk.console.note(&kept()))?;
                std::fs::remove_file(&file).map_err(cannot)?;
                return Ok(code);
            }
            Err(mistakes) => {
                let failure = validate::not_good(&mistakes, &name, &bytes);
                if how.yes {
                    return Err(failure.hint(kept()));
                }
                desk.console.fail(&failure);
                if !ask::yes("edit it again?", desk.console)? {
                    return Err(Failure::new("given up: not published").hint(kept()));
                }
            }
        }
    }
}
