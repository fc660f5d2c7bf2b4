//! The password of the database in a file: where it may come from, and what is refused.

use super::setup;

/// A directory with a credential, for one test.
struct Credentials(std::path::PathBuf);

impl Credentials {
    fn new(name: &str, password: &str) -> Credentials {
        let dir =
            std::env::temp_dir().join(format!("dg-credentials-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("pg-password"), password).unwrap();
        Credentials(dir)
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn file(&self) -> String {
        format!("{}/pg-password", self.text())
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const URL: &str = "database_url = 'host=/s'\n";
const KEY: &str = "database_password_file";

#[test]
fn a_credential_is_used_when_nothing_else_is_said() {
    let passed = Credentials::new("used", "s3cret\n");
    let setup = || setup().env("CREDENTIALS_DIRECTORY", passed.text());
    let shown = (format!("{:?}", passed.file()), "credential:pg-password".to_owned());
    assert_eq!(setup().file(URL).effective(KEY), shown);
    assert!(setup().load().is_ok(), "without a database it is not needed");
    let other = Credentials::new("other", "s3cret");
    let said = setup().file(URL).env("DECISIONGRAPH_DATABASE_PASSWORD_FILE", &other.file());
    assert_eq!(said.effective(KEY).0, format!("{:?}", other.file()));
    let none = super::setup().env("CREDENTIALS_DIRECTORY", "/nowhere").file(URL);
    assert_eq!(none.effective(KEY), ("null".to_owned(), "default".to_owned()));
}

#[test]
fn what_cannot_be_used_is_a_problem_and_shows_no_secret() {
    let passed = Credentials::new("refused", "s3cret\nmore\n");
    let place = passed.file();
    let accepted = "; accepted: a path of 1 to 4095 bytes";
    let flag = format!("{KEY} (flag:--database-password-file): ");
    let twice = setup().file("database_url = 'host=/s password=s3cret'").flag(KEY, &place);
    let expected = "is given, and database_url has a password, too: take one out";
    assert_eq!(twice.problems(), [format!("{flag}{expected}{accepted}")]);
    let expected = format!("{flag}{place} has more than one line{accepted}");
    assert_eq!(setup().file(URL).flag(KEY, &place).problems(), [expected]);
    let expected = format!("{flag}is given, and there is no database_url{accepted}");
    assert_eq!(setup().flag(KEY, &place).problems(), [expected]);
    let url_and_credential = setup()
        .env("CREDENTIALS_DIRECTORY", passed.text())
        .env("DATABASE_URL", "postgres://u:s3cret@localhost/d");
    let expected = "is given, and database_url has a password, too: take one out";
    let expected = format!("{KEY} (credential:pg-password): {expected}{accepted}");
    assert_eq!(url_and_credential.problems(), [expected]);
}
