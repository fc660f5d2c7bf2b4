//! `completions`, `man`: the command line as shells and readers of manuals want it, made from the
//! command line itself.

use std::path::Path;
use std::str::FromStr as _;

use clap_complete::Shell;
use clap_mangen::Man;
use dg_projections::Code;

use crate::cli::{Session, command};
use crate::failure::Failure;
use crate::output::{line, note};

/// What the command line does not know of itself: title of the section, items with their meaning.
const SECTIONS: [(&str, &[(&str, &str)]); 3] = [
    (
        "ENVIRONMENT",
        &[
            ("DECISIONGRAPH_CONFIG", "the configuration file, if --config does not name one"),
            ("DECISIONGRAPH_SOCKET", "the daemon's admin socket, if --socket does not name one"),
            (
                "DECISIONGRAPH_<KEY>",
                "a setting, such as DECISIONGRAPH_POOL_SIZE; it counts before the file and after \
                 flags. `decisiongraph config` shows each and where it comes from",
            ),
            (
                "DATABASE_URL",
                "the Postgres to use; it counts before the file, and after \
                 DECISIONGRAPH_DATABASE_URL and flags",
            ),
            ("NO_COLOR", "never colour the output"),
        ],
    ),
    (
        "FILES",
        &[
            ("./decisiongraph.toml", "the configuration, if none is named"),
            ("/etc/decisiongraph/config.toml", "the same, if that is not there"),
            (
                ".decisiongraph/",
                "the data directory (data_dir): the embedded Postgres below pg/, its log \
                 pg/postgres.log",
            ),
            (".decisiongraph/decisiongraph.sock", "the daemon's admin socket (socket_path)"),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "fine"),
            ("1", "failed"),
            ("2", "usage"),
            ("3", "not found"),
            ("4", "input rejected"),
            ("5", "conflict"),
            ("6", "projection out of date"),
            ("7", "a proof failed"),
            ("64", "bad configuration"),
            ("69", "daemon or database not reachable"),
        ],
    ),
];

pub(crate) fn completions(session: &Session) -> Result<u8, Failure> {
    let shell = Shell::from_str(&session.required("shell")?)
        .map_err(|problem| Failure::new(Code::InvalidArgument, problem))?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "decisiongraph", &mut script);
    line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(0)
}

pub(crate) fn man(session: &Session) -> Result<u8, Failure> {
    let main = main_page()?;
    match session.args.get_one::<std::path::PathBuf>("directory") {
        None => line(String::from_utf8_lossy(&main).trim_end())?,
        Some(dir) => {
            write_pages(dir, &main).map_err(|error| {
                Failure::new(Code::Internal, format!("cannot write to {}: {error}", dir.display()))
            })?;
            note(&format!("written; read them with `man -l {}/decisiongraph.1`", dir.display()));
        }
    }
    Ok(0)
}

/// A page for each command. The main one is ours, since it says more.
fn write_pages(dir: &Path, main: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command(), dir)?;
    std::fs::write(dir.join("decisiongraph.1"), main)
}

fn main_page() -> std::io::Result<Vec<u8>> {
    let man = Man::new(command().disable_help_subcommand(true));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    page.extend(SECTIONS.iter().flat_map(|(title, items)| section(title, items).into_bytes()));
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// A section of items in the language of manual pages.
fn section(title: &str, items: &[(&str, &str)]) -> String {
    let item =
        |(name, text): &(&str, &str)| format!(".TP\n\\fB{}\\fR\n{}\n", plain(name), plain(text));
    format!(".SH \"{title}\"\n{}", items.iter().map(item).collect::<String>())
}

/// Text that no part of which is taken for a request: neither a backslash, a hyphen, nor a dot or a
/// quote at the beginning.
fn plain(text: &str) -> String {
    format!("\\&{}", text.replace('\\', "\\e").replace('-', "\\-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CANDIDATES;

    #[test]
    fn text_is_no_request() {
        assert_eq!(plain(".decision-graph\\"), "\\&.decision\\-graph\\e");
    }

    #[test]
    fn the_files_are_those_that_are_looked_for() {
        let page = String::from_utf8(main_page().unwrap()).unwrap();
        for candidate in CANDIDATES {
            let name = Path::new(candidate).file_name().unwrap().to_str().unwrap();
            assert!(page.contains(name), "{name}");
        }
    }
}
