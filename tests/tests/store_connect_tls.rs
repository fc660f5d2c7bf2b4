//! Connections to a Postgres that wants TLS: who proves what to whom, and what an operator is told.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::Code;
use dg_store::{Options, Store, StoreError, Target};
use dg_tests::events::{joined, whole_trace};
use dg_tests::{Authority, Daemon, EXPIRED, Postgres, Where, run, until};

/// The daemon's databases are for TLS only; an operator's for who comes without.
const ACCESS: &str = "hostssl dg all 127.0.0.1/32 trust\n\
    hostssl certified all 127.0.0.1/32 cert\n\
    hostssl bound all 127.0.0.1/32 scram-sha-256\n\
    hostnossl bound all 127.0.0.1/32 scram-sha-256\n\
    hostnossl postgres all 127.0.0.1/32 trust\n";
const LAST_YEAR: i32 = 2120;

/// A server that says it is `localhost`, and the authority that says so, too.
struct Encrypted {
    runtime: tokio::runtime::Runtime,
    server: Postgres,
    authority: Authority,
    root: String,
}

impl Encrypted {
    fn start() -> Encrypted {
        let mut server = Postgres::start();
        for database in ["dg", "certified", "bound"] {
            server.sql().rows(&format!("CREATE DATABASE {database}"));
        }
        let authority = Authority::new();
        server.encrypt(&authority.issue("localhost", LAST_YEAR), &authority.root(), ACCESS);
        let root = server.file("root.pem", &authority.root());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        Encrypted { runtime, server, authority, root }
    }

    /// The URL of a database, by one of the server's names.
    fn url(&self, host: &str, database: &str, parameters: &str) -> String {
        let address = self.server.address().replace("127.0.0.1", host);
        format!("postgres://decisiongraph@{address}/{database}?{parameters}")
    }

    /// Whether a store comes in.
    fn try_in(&self, url: &str) -> Result<(), StoreError> {
        let _inside = self.runtime.enter();
        let options = Options {
            pool_size: 2,
            timeout: Duration::from_secs(30),
            application_name: "a store".to_owned(),
            role: None,
        };
        let store = Store::new(Target::parse(url).unwrap(), &options).unwrap();
        let answer = self.runtime.block_on(store.ping());
        if answer.is_ok() {
            assert_eq!(self.encrypted_sessions(), [["t"]], "{url}");
        }
        store.close();
        answer
    }

    /// Whether each session of a store is encrypted.
    fn encrypted_sessions(&self) -> Vec<[String; 1]> {
        let sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
            WHERE application_name = 'a store'";
        self.server.sql().rows(sql).into_iter().map(|row| [row[0].clone().unwrap()]).collect()
    }

    /// How often the server let somebody into a database that is for TLS only.
    fn let_in(&self) -> usize {
        let log = self.server.log();
        log.matches("connection authorized: user=decisiongraph database=dg").count()
    }

    #[track_caller]
    fn refused(&self, url: &str, message: &str) {
        let before = self.let_in();
        let error = self.try_in(url).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (Code::Storage, message), "{url}");
        assert_eq!(self.let_in(), before, "{url}");
    }
}

#[test]
fn a_server_proves_itself_before_anything_is_said() {
    let encrypted = Encrypted::start();
    let other = encrypted.server.file("other.pem", &Authority::new().root());
    let (root, url) =
        (&encrypted.root, |host, parameters: &str| encrypted.url(host, "dg", parameters));
    for mode in ["verify-full", "require", "verify-ca"] {
        let parameters = format!("sslmode={mode}&sslrootcert={root}");
        assert!(encrypted.try_in(&url("localhost", &parameters)).is_ok(), "{mode}");
    }
    let any_name = format!("sslmode=verify-ca&sslrootcert={root}");
    assert!(encrypted.try_in(&url("127.0.0.1", &any_name)).is_ok());

    let issuer = "TLS: the server's certificate is not from a root that is trusted here: \
        sslrootcert names the file of its root";
    for mode in ["verify-full", "require", "verify-ca"] {
        let parameters = format!("sslmode={mode}&sslrootcert={other}");
        encrypted.refused(&url("localhost", &parameters), issuer);
    }
    let name = "TLS: the server's certificate is not for the host that database_url names: use a \
        name that it has";
    for mode in ["verify-full", "require"] {
        let parameters = format!("sslmode={mode}&sslrootcert={root}");
        encrypted.refused(&url("127.0.0.1", &parameters), name);
    }
    let error = encrypted.try_in(&url("127.0.0.1", "sslmode=disable")).unwrap_err();
    assert_eq!((error.code, error.sqlstate.as_deref()), (Code::Storage, Some("28000")));
    assert!(error.message.contains("no encryption"), "{error}");
}

#[test]
fn a_certificate_that_has_ended_is_refused() {
    let mut encrypted = Encrypted::start();
    let authority = &encrypted.authority;
    let expired = authority.issue("localhost", EXPIRED);
    encrypted.server.encrypt(&expired, &authority.root(), ACCESS);
    let message = "TLS: the server's certificate has expired: renew it on the server";
    for mode in ["verify-full", "verify-ca"] {
        let parameters = format!("sslmode={mode}&sslrootcert={}", encrypted.root);
        encrypted.refused(&encrypted.url("localhost", "dg", &parameters), message);
    }
}

#[test]
fn a_server_without_tls_is_refused_by_who_asks_for_it() {
    let server = Postgres::start();
    let root = server.file("root.pem", &Authority::new().root());
    let url = format!(
        "postgres://decisiongraph@{}/postgres?sslmode=verify-full&sslrootcert={root}",
        server.address()
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dropped =
        runtime.block_on(dg_store::drop_database(&Target::parse(&url).unwrap(), "nothing"));
    let message = dropped.unwrap_err().message;
    assert_eq!(message, "error performing TLS handshake: server does not support TLS");
    assert!(!server.log().contains("user=decisiongraph"), "{}", server.log());
}

#[test]
fn a_client_proves_itself_with_its_own_certificate() {
    let encrypted = Encrypted::start();
    let file = |name: &str, text: &str| encrypted.server.file(name, text);
    let own = encrypted.authority.issue("decisiongraph", LAST_YEAR);
    let strange = Authority::new().issue("decisiongraph", LAST_YEAR);
    let full = format!("sslmode=verify-full&sslrootcert={}", encrypted.root);
    let with = |chain: &str, key: &str| {
        encrypted.url("localhost", "certified", &format!("{full}&sslcert={chain}&sslkey={key}"))
    };
    let (chain, key) = (file("own.pem", &own.certificate), file("own.key", &own.key));
    assert!(encrypted.try_in(&with(&chain, &key)).is_ok());

    let none = encrypted.try_in(&encrypted.url("localhost", "certified", &full)).unwrap_err();
    assert_eq!((none.code, none.sqlstate.as_deref()), (Code::Storage, Some("28000")), "{none}");
    let strange_chain = file("strange.pem", &strange.certificate);
    let strange_key = file("strange.key", &strange.key);
    let error = encrypted.try_in(&with(&strange_chain, &strange_key)).unwrap_err();
    assert_eq!(error.code, Code::Storage);
    assert!(error.message.starts_with("TLS: the server refused the connection: "), "{error}");

    let problem = |url: &str| Target::parse(url).unwrap_err().message;
    let told = problem(&with(&chain, &strange_key));
    assert!(told.starts_with(&format!("sslcert {chain} with sslkey {strange_key}: ")), "{told}");
    let told = problem(&with(&chain, &chain));
    assert_eq!(told, format!("sslkey {chain}: holds no private key in PEM without a passphrase"));
    let told = problem(&encrypted.url("h", "dg", &format!("{full}&sslcert={chain}")));
    assert_eq!(told, "has sslcert without sslkey");
}

#[test]
fn a_password_can_be_bound_to_the_encryption() {
    let encrypted = Encrypted::start();
    encrypted.server.sql().rows("ALTER ROLE decisiongraph PASSWORD 's3cret'");
    let bound = "password=s3cret&channel_binding=require";
    let url = |parameters: &str| encrypted.url("localhost", "bound", parameters);
    let tls = format!("{bound}&sslmode=verify-full&sslrootcert={}", encrypted.root);
    encrypted.try_in(&url(&tls)).unwrap();
    let error = encrypted.try_in(&url(&format!("{bound}&sslmode=disable"))).unwrap_err();
    assert!(error.message.ends_with("server did not use channel binding"), "{error}");
}

#[test]
fn a_daemon_and_its_psql_come_in_encrypted() {
    let encrypted = Encrypted::start();
    let parameters = format!("sslmode=require&sslrootcert={}", encrypted.root);
    let url = encrypted.url("localhost", "dg", &parameters);
    let daemon = Daemon::start(Where::Url(url.clone()), &[]);
    daemon.cli_with(&["append", "-"], joined(&whole_trace("a")).as_bytes()).ok();
    daemon.until_current("default");
    daemon.direct(&["verify"]).ok();
    let sql = "SELECT bool_and(ssl), count(*) > 0 FROM pg_stat_ssl JOIN pg_stat_activity
        USING (pid) WHERE datname = 'dg'";
    assert_eq!(encrypted.server.sql().rows(sql), [[Some("t".to_owned()), Some("t".to_owned())]]);

    let own = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let psql = |url: &str| run(&["psql", "--database-url", url, "-Atc", own], b"");
    assert_eq!(psql(&url).ok().stdout, "t\n");
    // As strict as the daemon: the server is not 127.0.0.1.
    let refused = psql(&encrypted.url("127.0.0.1", "dg", &parameters));
    assert_eq!(refused.code, 2, "{refused:?}");
}

#[test]
fn a_daemon_that_cannot_trust_its_server_says_so_once() {
    let encrypted = Encrypted::start();
    let other = encrypted.server.file("other.pem", &Authority::new().root());
    let parameters = format!("sslmode=verify-full&sslrootcert={other}");
    let mut daemon = Daemon::start_on_nothing(&encrypted.url("localhost", "dg", &parameters));
    until("the daemon has tried three times", || {
        (encrypted.server.log().matches("SSL connection: tlsv1 alert").count() >= 3).then_some(())
    });
    let reason = "TLS: the server's certificate is not from a root that is trusted here";
    assert_eq!(daemon.log().matches(reason).count(), 1, "{}", daemon.log());
    let answer = daemon.cli(&["health"]);
    assert!(answer.code == 69 && answer.stderr.contains(reason), "{answer:?}");
    assert_eq!(daemon.stop(), 0);

    let missing = run(&["serve", "--database-url", "postgres://h/d?sslmode=prefer"], b"");
    assert_eq!(missing.code, 64, "{missing:?}");
    assert!(missing.stderr.contains("database_url (flag:--database-url): has an sslmode that may"));
}
