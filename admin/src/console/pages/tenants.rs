//! Tenants by name, a page at a time.

use dg_store::TenantHead;

use super::{Region, region};
use crate::console::html::{Html, el};
use crate::console::parts::{Column, empty, link, number, or_unseen, table, tenant};
use crate::console::route::{self, Page};
use crate::console::view::Tenants;

/// All of them, from the first.
pub(super) const ALL: (Page, &str) =
    (Page::Tenants { prefix: String::new(), after: String::new() }, "Tenants");

/// The box that asks how names begin. It is not exchanged while somebody writes in it.
pub(super) fn filter(prefix: &str) -> Html {
    let field = el("input")
        .attr("id", "prefix")
        .attr("name", "prefix")
        .attr("type", "search")
        .attr("autocomplete", "off")
        .attr("spellcheck", "false")
        .attr("value", prefix);
    el("form")
        .attr("action", route::TENANTS)
        .attr("role", "search")
        .child(el("label").attr("for", "prefix").text("Names that begin with"))
        .child(field)
        .child(el("button").text("Show"))
        .into()
}

pub(super) fn regions(tenants: &Tenants) -> Vec<Region> {
    let list = or_unseen(&tenants.heads, |heads| list(heads, tenants));
    vec![region("tenants", list)]
}

fn list(heads: &[TenantHead], tenants: &Tenants) -> Html {
    if heads.is_empty() {
        return empty("There is none.");
    }
    let columns = [Column::Name("Tenant"), Column::Number("Events"), Column::Number("Last number")];
    let row = |head: &TenantHead| {
        vec![tenant(&head.tenant_id), number(head.event_count), number(head.last_log_seq)]
    };
    let next = heads.last().filter(|_| tenants.has_more).map(|last| {
        let next = Page::Tenants { prefix: tenants.prefix.clone(), after: last.tenant_id.clone() };
        el("p").class("pages").child(link(&next, "More tenants"))
    });
    table("Tenants by name", &columns, heads.iter().map(row).collect())
        .and(next.into_iter().collect::<Html>())
}
