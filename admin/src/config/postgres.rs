//! Checks a connection string and the files that it names, without repeating what is in it.

use dg_store::Target;

/// Says what is wrong with a connection string; the message holds nothing that could be secret.
pub(super) fn check(text: &str) -> Result<(), String> {
    Target::parse(text).map(drop).map_err(|problem| problem.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_both_forms_and_refuses_without_quoting() {
        let table = [
            ("postgres://u:s3cret@h/db?sslmode=disable", Ok(())),
            ("postgres://u:s3cret@localhost,127.0.0.1/db", Ok(())),
            ("postgresql:///db?host=/run/postgresql", Ok(())),
            ("host=h user=u password='s3cret' sslmode='disable'", Ok(())),
            ("host=/run/postgresql tcp_user_timeout=5000 keepalives_count=3", Ok(())),
            ("hostaddr=127.0.0.1 user=u", Ok(())),
            ("", Err("is empty")),
            ("postgres:///db", Err("names no host")),
            ("user=u", Err("names no host")),
            ("postgres://h:port/db", Err("does not parse: invalid value for option `port`")),
            ("host=h password=s3 s3cret=x", Err("does not parse: an option is not known")),
            ("mysql://u:s3cret@h/db?a=b", Err("does not parse: an option is not known")),
            (
                "postgres://h/db?sslcrl=x",
                Err("does not parse: the option `sslcrl` is not supported"),
            ),
            (
                "host=localhost tcp_user_timeout=5s",
                Err("does not parse: invalid value for option `tcp_user_timeout`"),
            ),
            ("host=h,i,j hostaddr=127.0.0.1,127.0.0.2", Err("has not as many hostaddr as hosts")),
            ("host=h password=s3 s3cret x", Err("does not parse: unexpected character at byte 26")),
            ("h/db", Err("does not parse: unexpected EOF")),
            (
                "host=h password='s3cret",
                Err("does not parse: unterminated quoted connection parameter value"),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(check(text), expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn how_to_encrypt_is_said_and_never_falls_back() {
        let silent = "names another machine without sslmode: write sslmode=verify-full, or \
            sslmode=disable where nobody else can read the network";
        let weak = "has an sslmode that may fall back to plain text: write sslmode=verify-full, or \
            sslmode=disable";
        let table = [
            ("postgres://u:s3cret@h/db", silent),
            ("postgres://localhost,h/db", silent),
            ("host=localhost hostaddr=192.0.2.1", silent),
            ("postgres://h/db?sslmode=prefer", weak),
            ("host=localhost sslmode=allow", weak),
            ("host=h sslmode=s3cret", "does not parse: invalid value for option `sslmode`"),
            (
                "host=localhost sslrootcert=/r.pem",
                "has sslrootcert, but no TLS: write sslmode=verify-full",
            ),
            (
                "host=h sslmode=verify-ca",
                "sslmode=verify-ca needs sslrootcert, the file of a root certificate of your own",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(check(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_certificate_that_cannot_be_used_is_told_by_its_name() {
        let broken = std::env::temp_dir().join(format!("dg-broken-{}.pem", std::process::id()));
        let broken_name = broken.display();
        let table = [
            ("", format!("sslrootcert {broken_name}: holds no certificate in PEM")),
            (
                "-----BEGIN CERTIFICATE-----\ns3cret?\n-----END CERTIFICATE-----\n",
                format!("sslrootcert {broken_name}: is not well-formed PEM"),
            ),
            (
                "-----BEGIN CERTIFICATE-----\nczNjcmV0\n-----END CERTIFICATE-----\n",
                format!("sslrootcert {broken_name}: invalid peer certificate: BadEncoding"),
            ),
        ];
        for (content, expected) in table {
            std::fs::write(&broken, content).unwrap();
            let text = format!("host=h sslmode=verify-full sslrootcert={broken_name}");
            assert_eq!(check(&text), Err(expected));
        }
        std::fs::remove_file(&broken).unwrap();
        let missing = "sslrootcert /nowhere/r.pem: No such file or directory (os error 2)";
        let text = "host=h sslmode=verify-full sslrootcert=/nowhere/r.pem";
        assert_eq!(check(text), Err(missing.to_owned()));
    }
}
