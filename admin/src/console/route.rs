//! The pages there are and their addresses, each way.
//!
//! Names stand in the query: browsers take a segment `..` of a path for a step up, however it is
//! written, and a tenant may be called so.

use dg_projections::Rejection;

use crate::server::{Query, encode, invalid, not_found};

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    /// The daemon as a whole.
    Overview,
    /// Tenants by name, a page at a time.
    Tenants {
        /// How their names begin.
        prefix: String,
        /// The last name of the page before.
        after: String,
    },
    /// A tenant.
    Tenant(String),
    /// A trace.
    Trace {
        tenant: String,
        trace: String,
        /// The last number of the page of events before.
        after: Option<i64>,
    },
    /// A run.
    Run(String),
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Page(Page),
    /// What changes on a page.
    Live(Page),
    Style,
    Script,
    /// The front door.
    Root,
}

/// An address within the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link(String);

impl Link {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// A place on the same page.
    pub(super) fn anchor(name: &'static str) -> Link {
        Link(format!("#{name}"))
    }
}

pub(super) const ROOT: &str = "/console";
const STYLE: &str = "/console/console.css";
const SCRIPT: &str = "/console/console.js";
const LIVE: &str = "/console/live";
/// Three nodes and two edges.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'\
    %3E%3Cpath d='M4 8L12 3M4 8L12 13' stroke='%234a6fd0' stroke-width='1.5'/%3E%3Cg fill='%234a6fd0'\
    %3E%3Ccircle cx='4' cy='8' r='3'/%3E%3Ccircle cx='12' cy='3' r='2.5'/%3E%3Ccircle cx='12' cy='13' \
    r='2.5'/%3E%3C/g%3E%3C/svg%3E";

/// The address of the style sheet.
pub(super) fn style() -> Link {
    Link(STYLE.to_owned())
}

/// A picture that is no further request: browsers ask for one unless they are told.
pub(super) fn icon() -> Link {
    Link(ICON.to_owned())
}

/// Where the changes of a page come from.
pub(super) fn live(page: &Page) -> Link {
    Link(format!("{LIVE}?page={}", encode(page.link().as_str())))
}

/// The address of the script.
pub(super) const fn script() -> &'static str {
    SCRIPT
}

/// The address of the list of tenants, for its form.
pub(super) const TENANTS: &str = "/console/tenants";

/// Whether a path is the console's to answer.
pub(super) fn is_ours(path: &str) -> bool {
    path == "/" || path == ROOT || path.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'))
}

/// What a path and a query ask for.
///
/// # Errors
/// What there is not, or what is missing.
pub(super) fn find(path: &str, query: &str) -> Result<Wanted, Rejection> {
    match path {
        "/" => Ok(Wanted::Root),
        STYLE => Ok(Wanted::Style),
        SCRIPT => Ok(Wanted::Script),
        LIVE => {
            let page = Query::of_text(query, &["page"])?.required("page")?;
            let (path, query) = page.split_once('?').unwrap_or((&page, ""));
            Ok(Wanted::Live(Page::find(path, query)?))
        }
        _ => Page::find(path, query).map(Wanted::Page),
    }
}

impl Page {
    fn find(path: &str, query: &str) -> Result<Page, Rejection> {
        let ask = |known: &[&str]| Query::of_text(query, known);
        match path.strip_suffix('/').unwrap_or(path) {
            ROOT => ask(&[]).map(|_| Page::Overview),
            TENANTS => {
                let query = ask(&["prefix", "after"])?;
                let text = |name| query.text(name).unwrap_or_default();
                Ok(Page::Tenants { prefix: text("prefix"), after: text("after") })
            }
            "/console/tenant" => Ok(Page::Tenant(ask(&["name"])?.required("name")?)),
            "/console/trace" => {
                let query = ask(&["tenant", "id", "after"])?;
                let (tenant, trace) = (query.required("tenant")?, query.required("id")?);
                Ok(Page::Trace { tenant, trace, after: query.number("after")? })
            }
            "/console/run" => Ok(Page::Run(ask(&["id"])?.required("id")?)),
            other if is_ours(other) => Err(not_found(format!("there is no page {other}"))),
            other => Err(invalid(format!("{other} is no page of the console"))),
        }
    }

    /// Its address.
    pub(super) fn link(&self) -> Link {
        Link(match self {
            Page::Overview => ROOT.to_owned(),
            Page::Tenants { prefix, after } => match (prefix.as_str(), after.as_str()) {
                ("", "") => TENANTS.to_owned(),
                _ => format!("{TENANTS}?prefix={}&after={}", encode(prefix), encode(after)),
            },
            Page::Tenant(name) => format!("/console/tenant?name={}", encode(name)),
            Page::Trace { tenant, trace, after } => {
                let after = after.map_or(String::new(), |after| format!("&after={after}"));
                format!("/console/trace?tenant={}&id={}{after}", encode(tenant), encode(trace))
            }
            Page::Run(id) => format!("/console/run?id={}", encode(id)),
        })
    }

    /// The first events of a trace.
    pub(super) fn trace(tenant: &str, trace: &str) -> Page {
        Page::Trace { tenant: tenant.to_owned(), trace: trace.to_owned(), after: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(link: &str) -> Result<Wanted, Rejection> {
        let (path, query) = link.split_once('?').unwrap_or((link, ""));
        find(path, query)
    }

    #[test]
    fn every_page_is_found_at_its_address() {
        let odd = "../a b?&=#%\"<é>".to_owned();
        for page in [
            Page::Overview,
            Page::Tenants { prefix: String::new(), after: String::new() },
            Page::Tenants { prefix: odd.clone(), after: odd.clone() },
            Page::Tenant(odd.clone()),
            Page::Tenant("..".to_owned()),
            Page::trace(&odd, &odd),
            Page::Trace { tenant: odd.clone(), trace: odd.clone(), after: Some(7) },
            Page::Run(odd.clone()),
        ] {
            let link = page.link();
            assert_eq!(found(link.as_str()), Ok(Wanted::Page(page.clone())), "{link:?}");
            assert!(!link.as_str().contains(['"', '<', '>', ' ', '#']), "{link:?}");
            let live = live(&page);
            assert_eq!(found(live.as_str()), Ok(Wanted::Live(page)), "{live:?}");
        }
        assert_eq!(found("/"), Ok(Wanted::Root));
        assert_eq!(found("/console/"), Ok(Wanted::Page(Page::Overview)));
    }

    #[test]
    fn what_there_is_not_is_refused() {
        for link in [
            "/console/other",
            "/console/tenant",
            "/console/tenant?name=a&name=b",
            "/console/trace?tenant=a&id=b&after=x",
            "/console?x=1",
            "/console/live",
            "/console/live?page=%2Fconsole%2Flive",
            "/console/live?page=http://elsewhere/",
        ] {
            assert!(found(link).is_err(), "{link}");
        }
        assert!(is_ours("/console/x") && is_ours("/console") && is_ours("/"));
        assert!(!is_ours("/consoles") && !is_ours("/metrics"));
    }
}
