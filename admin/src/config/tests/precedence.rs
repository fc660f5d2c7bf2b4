//! Which source wins, and what it is called.

use super::setup;
use crate::config::{Config, client_socket};

#[test]
fn a_higher_source_wins_and_is_named() {
    let file = || setup().file("pool_size = 20");
    let env = || file().env("DECISIONGRAPH_POOL_SIZE", "30");
    let table = [
        (setup(), "16", "default"),
        (file(), "20", "file:FILE"),
        (env(), "30", "env:DECISIONGRAPH_POOL_SIZE"),
        (env().flag("pool_size", "40"), "40", "flag:--pool-size"),
        (file().env("DECISIONGRAPH_POOL_SIZE", ""), "20", "file:FILE"),
        (file().flag("pool_size", "40"), "40", "flag:--pool-size"),
    ];
    for (setup, value, source) in table {
        assert_eq!(setup.effective("pool_size"), (value.to_owned(), source.to_owned()));
    }
}

#[test]
fn the_shared_variable_ranks_between_the_file_and_our_own() {
    let file = || setup().file(r#"database_url = "host=/file""#);
    let shared = || file().env("DATABASE_URL", "host=/shared");
    let own = || shared().env("DECISIONGRAPH_DATABASE_URL", "host=/own");
    let table = [
        (file(), "host=/file", "file:FILE"),
        (shared(), "host=/shared", "env:DATABASE_URL"),
        (own(), "host=/own", "env:DECISIONGRAPH_DATABASE_URL"),
        (own().flag("database_url", "host=/flag"), "host=/flag", "flag:--database-url"),
        // It belongs to everybody: what it says is no problem when it is not in effect.
        (own().env("DATABASE_URL", "mysql://h/db"), "host=/own", "env:DECISIONGRAPH_DATABASE_URL"),
        (file().env("DATABASE_URL", ""), "host=/file", "file:FILE"),
    ];
    for (setup, value, source) in table {
        let (shown, from) = setup.effective("database_url");
        assert_eq!((shown, from), (format!("{value:?}"), source.to_owned()));
    }
}

#[test]
fn the_socket_has_short_names_and_follows_the_data_dir() {
    let dir = || setup().flag("data_dir", "/d");
    let short = || dir().env("DECISIONGRAPH_SOCKET", "/s");
    let long = || short().env("DECISIONGRAPH_SOCKET_PATH", "/l");
    let table = [
        (dir(), "/d/decisiongraph.sock", "default"),
        (short(), "/s", "env:DECISIONGRAPH_SOCKET"),
        (long(), "/l", "env:DECISIONGRAPH_SOCKET_PATH"),
        (long().flag("socket", "/f"), "/f", "flag:--socket"),
        (long().flag("socket", "/f").flag("socket_path", "/g"), "/g", "flag:--socket-path"),
    ];
    for (setup, value, source) in table {
        assert_eq!(setup.effective("socket_path"), (format!("{value:?}"), source.to_owned()));
        assert_eq!(client_socket(&setup.inputs).unwrap().to_str(), Some(value));
    }
}

#[test]
fn lists_and_words_read_the_same_everywhere() {
    let text = "admin_uids = [1, 2]\nprojections = ['trace_summary']\nmigrate = 'check'";
    let from_file = setup().file(text).load().unwrap();
    let from_env = setup()
        .env("DECISIONGRAPH_ADMIN_UIDS", "1,2")
        .env("DECISIONGRAPH_PROJECTIONS", "trace_summary")
        .flag("migrate", "check");
    let from_env = from_env.load().unwrap();
    let typed = |c: &Config| (c.admin_uids.clone(), c.projections.clone(), c.migrate);
    assert_eq!(typed(&from_file), typed(&from_env));
    assert_eq!(from_file.admin_uids, [1, 2]);
}

#[test]
fn the_file_is_the_named_one_or_the_first_that_exists() {
    let named = setup().file("pool_size = 20");
    let other = setup().file("pool_size = 30");
    let (first, second) = (named.file.clone().unwrap(), other.file.clone().unwrap());
    let missing = first.with_extension("missing");
    let of = |explicit: bool, variable: bool, candidates: &[&std::path::PathBuf]| {
        let mut setup = setup();
        setup.inputs.config_file = explicit.then(|| first.clone());
        if variable {
            setup = setup.env("DECISIONGRAPH_CONFIG", second.to_str().unwrap());
        }
        setup.inputs.candidates = candidates.iter().map(|path| (*path).clone()).collect();
        setup.load().unwrap().pool_size
    };
    assert_eq!(of(true, true, &[]), 20);
    assert_eq!(of(false, true, &[&first]), 30);
    assert_eq!(of(false, false, &[&missing, &second, &first]), 30);
    assert_eq!(of(false, false, &[&missing]), 16);
}

#[test]
fn an_origin_has_its_line_and_what_it_overrides() {
    let setup = setup()
        .file("# first\npool_size = 20")
        .env("DECISIONGRAPH_POOL_SIZE", "30")
        .flag("pool_size", "40");
    let origins = |setup: &super::Setup, key: &str| {
        let shown = setup.load().unwrap().origins_json()[key].to_string();
        setup.neutral(&shown)
    };
    let expected = serde_json::json!({
        "value": 40, "source": "flag:--pool-size", "line": null, "overridden": [
            {"value": 30, "source": "env:DECISIONGRAPH_POOL_SIZE", "line": null},
            {"value": 20, "source": "file:FILE", "line": 2},
        ],
    });
    assert_eq!(origins(&setup, "pool_size"), expected.to_string());
    // That of others is shown where it would have counted, and only if it could have.
    for (shared, shown) in [("host=/shared", true), ("mysql://h/db", false)] {
        let setup = self::setup().flag("database_url", "host=/flag").env("DATABASE_URL", shared);
        let origins = origins(&setup, "database_url");
        assert_eq!(origins.contains("env:DATABASE_URL"), shown, "{origins}");
    }
    let config = setup.load().unwrap();
    let one = config.effective().find(|one| one.key == "pool_size").unwrap();
    assert_eq!(setup.neutral(&one.overridden[1].origin()), "file:FILE:2");
}
