//! Receipts as files. One that is there is evidence: it is never written over, and there is never
//! half of one.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use dg_projections::Code;

use super::Receipt;
use crate::failure::Failure;

/// A receipt is far smaller; what is larger is something else.
const MOST_BYTES: u64 = 16 << 20;

/// Reads the receipt in a file.
///
/// # Errors
/// `not_found`, or `invalid_argument` for what cannot be read or is no receipt.
pub(crate) fn read(path: &Path) -> Result<Receipt, Failure> {
    let refuse = |error: std::io::Error| {
        let missing = error.kind() == ErrorKind::NotFound;
        let code = if missing { Code::NotFound } else { Code::InvalidArgument };
        Failure::new(code, format!("cannot read {}: {error}", path.display()))
            .help("name a receipt, as `verify --receipt FILE` writes it")
    };
    if fs::metadata(path).map_err(refuse)?.len() > MOST_BYTES {
        return Err(refuse(ErrorKind::FileTooLarge.into()));
    }
    Receipt::parse(&fs::read_to_string(path).map_err(refuse)?)
}

/// Before the work: what is there stays.
///
/// # Errors
/// `conflict` when there is something.
pub(crate) fn refuse_existing(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(exists(path)),
        Err(_) => Ok(()),
    }
}

/// Writes a file that is not there yet, whole or not at all.
///
/// # Errors
/// `conflict` when there is one by now; `invalid_argument` when it cannot be written there.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = beside(path);
    let written = write_whole(&beside, text).and_then(|()| fs::hard_link(&beside, path));
    let _ = fs::remove_file(&beside); // its other name is the one that counts
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(path),
        _ => {
            Failure::new(Code::InvalidArgument, format!("cannot write {}: {error}", path.display()))
                .help("name a file in a directory that you may write to")
        }
    })?;
    // The name itself, too, is to be there after a loss of power; where that cannot be asked for, it
    // is as safe as any other new file.
    let _ = File::open(directory(path)).and_then(|directory| directory.sync_all());
    Ok(())
}

fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name of this process's own in the same directory.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    directory(path).join(format!(".{name}.{}.part", std::process::id()))
}

fn exists(path: &Path) -> Failure {
    let message =
        format!("{} is there already, and a receipt is never written over", path.display());
    Failure::new(Code::Conflict, message).help("name another file, such as one with the date")
}
