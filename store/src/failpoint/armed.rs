//! Fail points that do something.

use std::fs::File;
use std::io::Write as _;
use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;

use super::{GenericClient, Point, StoreError};

/// Longer than a round trip, shorter than anybody's patience.
const DELAY: Duration = Duration::from_millis(200);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Panic,
    Abort,
    Kill,
    Freeze,
    Delay,
    Error,
    Drop,
}

impl FromStr for Action {
    type Err = String;

    fn from_str(word: &str) -> Result<Action, String> {
        Ok(match word {
            "panic" => Action::Panic,
            "abort" => Action::Abort,
            "kill" => Action::Kill,
            "freeze" => Action::Freeze,
            "delay" => Action::Delay,
            "error" => Action::Error,
            "drop" => Action::Drop,
            other => return Err(format!("there is no action '{other}'")),
        })
    }
}

#[derive(Debug)]
struct Armed {
    point: Point,
    who: Option<String>,
    action: Action,
    /// Hits that pass before.
    spared: AtomicU64,
    left: AtomicU64,
}

impl FromStr for Armed {
    type Err = String;

    fn from_str(text: &str) -> Result<Armed, String> {
        let (place, action) = text.split_once('=').ok_or("no action")?;
        let (name, who) = match place.split_once('/') {
            Some((name, who)) => (name, Some(who.to_owned())),
            None => (place, None),
        };
        let point = Point::ALL.iter().find(|point| point.name() == name);
        let point = *point.ok_or_else(|| format!("there is no place '{name}'"))?;
        let number = |text: &str| text.parse::<u64>().map_err(|error| format!("'{text}': {error}"));
        let (action, hit) = action.split_once('@').unwrap_or((action, "1"));
        let (action, times) = match action.split_once('*') {
            Some((action, times)) => (action, number(times)?),
            None => (action, u64::MAX),
        };
        let action: Action = action.parse()?;
        match action {
            Action::Error if !point.can_fail() => Err(format!("no call can fail at '{name}'")),
            Action::Drop if !point.has_session() => Err(format!("there is no session at '{name}'")),
            _ => {
                let spared = number(hit)?.checked_sub(1).ok_or("hits begin with 1")?;
                let (spared, left) = (AtomicU64::new(spared), AtomicU64::new(times));
                Ok(Armed { point, who, action, spared, left })
            }
        }
    }
}

fn parse(list: &str) -> Result<Vec<Armed>, String> {
    let one = |text: &str| text.parse().map_err(|problem| format!("{text}: {problem}"));
    list.split(';').map(str::trim).filter(|text| !text.is_empty()).map(one).collect()
}

static ARMED: LazyLock<Vec<Armed>> = LazyLock::new(|| {
    let list = std::env::var("DECISIONGRAPH_TEST_FAILPOINTS").unwrap_or_default();
    parse(&list).unwrap_or_else(|problem| {
        tracing::error!(problem, "fail points cannot be read");
        std::process::abort()
    })
});

static HITS: LazyLock<Option<File>> = LazyLock::new(|| {
    let path = std::env::var_os("DECISIONGRAPH_TEST_FAILPOINTS_HITS")?;
    File::options().append(true).create(true).open(path).ok()
});

impl Armed {
    /// Whether it is this hit that goes wrong.
    fn takes(&self, point: Point, who: &str) -> bool {
        let is_here = self.point == point && self.who.as_deref().is_none_or(|own| own == who);
        let count_down = |count: &AtomicU64| {
            let less = |left: u64| left.checked_sub(1);
            count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
        };
        is_here && !count_down(&self.spared) && count_down(&self.left)
    }
}

/// What is left to whoever is here, after what can be done without him.
async fn at(point: Point, who: &str) -> Option<Action> {
    if let Some(mut hits) = HITS.as_ref() {
        // In one piece: others write, too.
        let _ = hits.write_all(format!("{}\n", point.name()).as_bytes());
    }
    let taken = ARMED.iter().find(|armed| armed.takes(point, who))?.action;
    tracing::debug!(point = point.name(), who, action = ?taken, "fail point");
    match taken {
        Action::Panic => panic!("fail point {}/{who}", point.name()),
        Action::Abort => std::process::abort(),
        Action::Kill => {
            let _ = kill(getpid(), Signal::SIGKILL);
            // The signal is on its way.
            std::future::pending::<()>().await;
        }
        Action::Freeze => std::future::pending::<()>().await,
        Action::Delay => tokio::time::sleep(DELAY).await,
        Action::Error | Action::Drop => return Some(taken),
    }
    None
}

/// Goes by a place where nothing fails but the process.
pub async fn hit(point: Point, who: &str) {
    let _ = at(point, who).await;
}

/// Goes by a place where a call may fail.
///
/// # Errors
/// When a test wants it to.
pub async fn pass(point: Point, who: &str) -> Result<(), StoreError> {
    match at(point, who).await {
        None => Ok(()),
        Some(_) => Err(StoreError::outage(format!("fail point {}", point.name()))),
    }
}

/// Goes by a place where a session may be lost.
///
/// # Errors
/// When a test wants it to.
pub(crate) async fn pass_on(
    session: &impl GenericClient,
    point: Point,
    who: &str,
) -> Result<(), StoreError> {
    match at(point, who).await {
        None => Ok(()),
        Some(Action::Drop) => {
            let end = "SELECT pg_terminate_backend(pg_backend_pid())";
            session.batch_execute(end).await.map_err(StoreError::from)
        }
        Some(_) => Err(StoreError::outage(format!("fail point {}", point.name()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_taken_at_its_hits_and_by_whom_it_is_meant_for() {
        let armed = parse("worker_apply_before/a=panic*2@3").unwrap();
        let taken = |who| armed[0].takes(Point::WorkerApplyBefore, who);
        assert_eq!([taken("a"), taken("b"), taken("a")], [false, false, false]);
        assert_eq!([taken("a"), taken("b"), taken("a"), taken("a")], [true, false, true, false]);
        assert!(!armed[0].takes(Point::CommitAfter, "a"));
    }

    #[test]
    fn a_list_that_asks_for_what_there_is_not_is_refused() {
        for list in [
            "nowhere=panic",
            "commit_before",
            "commit_before=sing",
            "commit_before=panic@0",
            "commit_before=panic*x",
            "start_before=error",
            "commit_after=drop",
        ] {
            assert!(parse(list).is_err(), "{list}");
        }
        assert_eq!(parse(" ; commit_before=drop*1 ;").unwrap().len(), 1);
    }
}
