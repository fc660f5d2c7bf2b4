//! A password that stands in a file of its own, so that no connection string need hold it.
//!
//! The file is read for each connection: a password that was changed there counts for the next one.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use dg_projections::Code;

use super::Target;
use crate::StoreError;

/// Longer than any password; what is larger is another file.
const MOST_BYTES: u64 = 4096;

impl Target {
    /// The same target with its password in `file`.
    ///
    /// # Errors
    /// `invalid_argument` with the rest of a sentence about the file: it holds no password, cannot be
    /// read, or the connection string has a password as well.
    pub fn password_in(mut self, file: PathBuf) -> Result<Target, StoreError> {
        let problem = match read(&file) {
            _ if self.hosts.iter().any(|host| host.get_password().is_some()) => {
                "is given, and database_url has a password, too: take one out".to_owned()
            }
            Err(problem) => problem,
            Ok(_) => {
                self.password_file = Some(file);
                return Ok(self);
            }
        };
        Err(StoreError::new(Code::InvalidArgument, problem))
    }

    /// The password of the file as it stands, if there is a file.
    ///
    /// # Errors
    /// An outage: whoever writes the file may be about to.
    pub(super) fn password(&self) -> Result<Option<String>, StoreError> {
        let Some(file) = &self.password_file else { return Ok(None) };
        let read = read(file).map(Some);
        read.map_err(|problem| StoreError::outage(format!("database_password_file {problem}")))
    }
}

/// The first line, which must be the only one; its end is no part of the password.
fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    match password {
        "" => Err(format!("{shown} is empty")),
        _ if text.len() as u64 > MOST_BYTES => Err(format!("{shown} is too long for a password")),
        _ if password.contains(['\n', '\0']) => Err(format!("{shown} has more than one line")),
        password => Ok(password.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_line_and_is_read_anew() {
        let file = std::env::temp_dir().join(format!("dg-password-{}", std::process::id()));
        let shown = file.display();
        let long = "x".repeat(4097);
        let table = [
            ("s3cret\n", Ok("s3cret")),
            ("s3 cret ", Ok("s3 cret ")),
            ("", Err("is empty")),
            ("\n", Err("is empty")),
            ("s3cret\nmore\n", Err("has more than one line")),
            (long.as_str(), Err("is too long for a password")),
        ];
        for (text, expected) in table {
            std::fs::write(&file, text).unwrap();
            let expected = expected.map(str::to_owned).map_err(|why| format!("{shown} {why}"));
            assert_eq!(read(&file), expected);
        }
        std::fs::write(&file, "one").unwrap();
        let target = Target::parse("host=/a").unwrap().password_in(file.clone()).unwrap();
        std::fs::write(&file, "two").unwrap();
        assert_eq!(target.password().unwrap().as_deref(), Some("two"));
        std::fs::remove_file(&file).unwrap();
        assert!(target.password().unwrap_err().is_outage);
    }

    #[test]
    fn two_passwords_are_one_too_many() {
        let target = Target::parse("host=/a password=s3cret").unwrap();
        let problem = target.password_in(PathBuf::from("/nowhere")).unwrap_err();
        assert_eq!(problem.message, "is given, and database_url has a password, too: take one out");
    }
}
