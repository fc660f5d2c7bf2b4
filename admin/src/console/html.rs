//! HTML that nothing can break out of: markup is made of elements, and whatever comes from outside
//! is text or the value of an attribute, escaped here and nowhere else.
//!
//! Invariant: names of elements and attributes are literals of this program; there is no way to put
//! text in as markup, nor an address that was not made by [`super::route`].

use super::route::Link;
use crate::output::printable;

/// Elements that have no end tag.
const VOID: [&str; 4] = ["br", "input", "link", "meta"];

/// A piece of finished markup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Html(String);

impl Html {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Text alone.
    pub(super) fn text(text: impl AsRef<str>) -> Html {
        Html(escaped(text.as_ref()))
    }

    /// Adds a piece after this one.
    #[must_use]
    pub(super) fn and(mut self, next: impl Into<Html>) -> Html {
        self.0.push_str(&next.into().0);
        self
    }
}

impl<T: Into<Html>> FromIterator<T> for Html {
    fn from_iter<I: IntoIterator<Item = T>>(pieces: I) -> Html {
        pieces.into_iter().fold(Html::default(), Html::and)
    }
}

/// An element that is being made.
#[derive(Debug, Clone)]
pub(super) struct Element {
    name: &'static str,
    attributes: String,
    inside: Html,
}

/// An element without attributes, and empty.
pub(super) fn el(name: &'static str) -> Element {
    Element { name, attributes: String::new(), inside: Html::default() }
}

impl Element {
    #[must_use]
    pub(super) fn attr(mut self, name: &'static str, value: impl AsRef<str>) -> Element {
        // A browser would run a script from an address, and no escaping helps against that.
        debug_assert!(name != "href" && !name.starts_with("on"), "{name}");
        self.push(name, value.as_ref());
        self
    }

    #[must_use]
    pub(super) fn class(self, names: &'static str) -> Element {
        self.attr("class", names)
    }

    /// An attribute that is there without a value.
    #[must_use]
    pub(super) fn flag(self, name: &'static str) -> Element {
        self.attr(name, "")
    }

    /// Where it leads.
    #[must_use]
    pub(super) fn to(mut self, link: &Link) -> Element {
        self.push("href", link.as_str());
        self
    }

    #[must_use]
    pub(super) fn text(self, text: impl AsRef<str>) -> Element {
        self.child(Html::text(text))
    }

    #[must_use]
    pub(super) fn child(mut self, child: impl Into<Html>) -> Element {
        self.inside = self.inside.and(child);
        self
    }

    #[must_use]
    pub(super) fn children<T: Into<Html>>(
        mut self,
        children: impl IntoIterator<Item = T>,
    ) -> Element {
        self.inside = children.into_iter().fold(self.inside, Html::and);
        self
    }

    fn push(&mut self, name: &'static str, value: &str) {
        self.attributes.push(' ');
        self.attributes.push_str(name);
        self.attributes.push_str("=\"");
        self.attributes.push_str(&escaped(value));
        self.attributes.push('"');
    }
}

impl From<Element> for Html {
    fn from(element: Element) -> Html {
        let Element { name, attributes, inside: Html(inside) } = element;
        Html(match VOID.contains(&name) {
            true => format!("<{name}{attributes}>"),
            false => format!("<{name}{attributes}>{inside}</{name}>"),
        })
    }
}

/// Text for any place between tags or quotes. What would move a cursor or turn the direction of the
/// text around becomes visible.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in printable(text).chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unescaped(text: &str) -> String {
        let named = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
        named.replace("&#39;", "'").replace("&amp;", "&")
    }

    #[test]
    fn elements_nest_and_void_ones_have_no_end() {
        let list = el("ul").class("x").children(["a", "b"].map(|text| el("li").text(text)));
        let all = Html::text("<").and(list).and(el("br"));
        assert_eq!(all.as_str(), r#"&lt;<ul class="x"><li>a</li><li>b</li></ul><br>"#);
    }

    #[test]
    fn what_turns_text_around_is_made_visible() {
        assert_eq!(Html::text("a\u{202e}b\u{0}").as_str(), "a\u{fffd}b\u{fffd}");
    }

    proptest! {
        #[test]
        fn nothing_breaks_out_of_text_or_of_an_attribute(
            text in "(\\PC|[<>\"'&;=/ \n\u{0}\u{202e}]|<script>|&lt;|-->|\\]\\]>){0,40}"
        ) {
            let html = Html::from(el("p").attr("title", &text).text(&text));
            let inside = html.as_str().strip_prefix("<p title=\"").and_then(|rest| {
                rest.strip_suffix("</p>")?.split_once("\">")
            });
            let (title, body) = inside.ok_or_else(|| TestCaseError::fail(html.as_str().to_owned()))?;
            for part in [title, body] {
                prop_assert!(!part.contains(['<', '>', '"', '\'']), "{}", part);
                prop_assert_eq!(unescaped(part), printable(&text));
            }
        }
    }
}
