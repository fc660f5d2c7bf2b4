//! The pages: pure functions from what was seen to HTML.
//!
//! A page is made of regions, each with an identifier: whole when it is loaded, and one by one when
//! it is live and something in them has changed.

mod frame;
mod lists;
mod overview;
mod run;
mod tenant;
mod tenants;
mod trace;

use super::html::Html;
use super::parts::Clock;
use super::route::Page;
use super::view::{Shown, View};

/// A part of a page that is exchanged as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) id: &'static str,
    pub(super) html: Html,
}

fn region(id: &'static str, html: impl Into<Html>) -> Region {
    Region { id, html: html.into() }
}

/// What the parts of a page are at present.
pub(super) fn regions(view: &View, clock: Clock) -> Vec<Region> {
    let mut regions = vec![frame::daemon(&view.daemon, clock)];
    regions.extend(match &view.shown {
        Shown::Overview(overview) => overview::regions(overview, clock),
        Shown::Tenants(tenants) => tenants::regions(tenants),
        Shown::Tenant(tenant) => tenant::regions(tenant, clock),
        Shown::Trace(trace) => trace::regions(trace, clock),
        Shown::Run(id, run) => run::regions(id, run, clock),
    });
    regions
}

/// A whole page.
pub(super) fn document(page: &Page, view: &View, clock: Clock) -> String {
    let (title, way) = match page {
        Page::Overview => ("Overview".to_owned(), vec![]),
        Page::Tenants { .. } => ("Tenants".to_owned(), vec![]),
        Page::Tenant(name) => (name.clone(), vec![tenants::ALL]),
        Page::Trace { tenant, trace, .. } => {
            (trace.clone(), vec![tenants::ALL, (Page::Tenant(tenant.clone()), tenant.as_str())])
        }
        Page::Run(id) => (format!("Run {id}"), vec![]),
    };
    let above = match page {
        Page::Tenants { prefix, .. } => tenants::filter(prefix),
        _ => Html::default(),
    };
    frame::document(frame::Whole { page, title: &title, way, above, clock }, regions(view, clock))
}

/// A page that says what is wrong with a request.
pub(super) fn refusal(title: &str, message: &str) -> String {
    frame::refusal(title, message)
}

#[cfg(test)]
mod tests;
