//! The question of a request: path segments and parameters, percent-decoded, each used or refused.

use std::borrow::Cow;
use std::collections::BTreeMap;

use dg_projections::Rejection;
use dg_projections::event::{DEFAULT_TENANT, tenant_name};
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::asked::invalid;

/// The header that names the tenant.
pub(crate) const TENANT: &str = "x-tenant-id";

/// The parameters of a request, all of which its route has.
#[derive(Debug)]
pub(crate) struct Query {
    parameters: BTreeMap<String, String>,
}

impl Query {
    /// The parameters of a query string. One given twice is refused, and one that is not `known`:
    /// it would be ignored without a word.
    pub(crate) fn of(parts: &Parts, known: &[&str]) -> Result<Query, Rejection> {
        Query::of_text(parts.uri.query().unwrap_or_default(), known)
    }

    /// The same of the text after the question mark.
    pub(crate) fn of_text(query: &str, known: &[&str]) -> Result<Query, Rejection> {
        let mut parameters = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            if !known.contains(&&*name) {
                return Err(unknown(&name, known));
            }
            let value = decode(&value.replace('+', " "))?.into_owned();
            if value.contains('\0') {
                return Err(invalid(format!("parameter '{name}' contains a NUL character")));
            }
            if parameters.insert(name.clone().into_owned(), value).is_some() {
                return Err(invalid(format!("parameter '{name}' is given twice")));
            }
        }
        Ok(Query { parameters })
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.parameters.get(name).cloned()
    }

    /// A parameter that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<String, Rejection> {
        self.text(name).ok_or_else(|| invalid(format!("parameter '{name}' is missing")))
    }

    /// A comma-separated list.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Rejection> {
        let parse = |text: String| {
            text.parse().map_err(|_| {
                invalid(format!("parameter '{name}' must be an integer, not '{text}'"))
            })
        };
        self.text(name).map(parse).transpose()
    }

    /// A number within bounds.
    pub(crate) fn bounded(
        &self,
        name: &str,
        default: i64,
        low: i64,
        high: i64,
    ) -> Result<i64, Rejection> {
        match self.number(name)?.unwrap_or(default) {
            number if (low..=high).contains(&number) => Ok(number),
            number => {
                Err(invalid(format!("parameter '{name}' must be in {low}..={high}, not {number}")))
            }
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, Rejection> {
        match self.text(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(other) => {
                Err(invalid(format!("parameter '{name}' must be true or false, not '{other}'")))
            }
        }
    }

    pub(crate) fn instant(&self, name: &str) -> Result<Option<OffsetDateTime>, Rejection> {
        let parse = |text: String| {
            OffsetDateTime::parse(&text, &Rfc3339)
                .ok()
                .and_then(|at| at.checked_to_offset(time::UtcOffset::UTC))
                .ok_or_else(|| {
                    invalid(format!("parameter '{name}' must be an RFC 3339 time, not '{text}'"))
                })
        };
        self.text(name).map(parse).transpose()
    }
}

fn unknown(name: &str, known: &[&str]) -> Rejection {
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    invalid(format!("this route has no parameter '{name}'; it has {known}"))
}

/// The tenant that the request names in `x-tenant-id`, percent-encoded where it is not ASCII.
pub(crate) fn tenant(headers: &HeaderMap) -> Result<String, Rejection> {
    let Some(value) = headers.get(TENANT) else { return Ok(DEFAULT_TENANT.to_owned()) };
    let text = value.to_str().ok().and_then(|text| decode(text).ok());
    let text = text.ok_or_else(|| invalid(format!("header {TENANT} is not percent-encoded")))?;
    let named =
        |reason: Rejection| reason.message.replace("$.tenant_id", &format!("header {TENANT}"));
    tenant_name(&text).map_err(|reason| invalid(named(reason)))
}

/// The segments of a path.
pub(crate) fn segments(path: &str) -> Result<Vec<Cow<'_, str>>, Rejection> {
    let segments = path.trim_matches('/').split('/').map(decode).collect::<Result<Vec<_>, _>>()?;
    match segments.iter().find(|segment| segment.contains('\0')) {
        Some(_) => Err(invalid("the path contains a NUL character")),
        None => Ok(segments),
    }
}

fn decode(text: &str) -> Result<Cow<'_, str>, Rejection> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text)); // nearly always
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(invalid(format!("'{text}' is not percent-encoded")));
        };
        bytes.push((high << 4 | low) as u8);
        rest = &tail[2..];
    }
    let decoded = String::from_utf8(bytes).map(Cow::Owned);
    decoded.map_err(|_| invalid(format!("'{text}' does not decode to UTF-8")))
}

/// Percent-encodes everything but unreserved characters, as the client needs it.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use dg_projections::Code;

    use super::*;

    #[test]
    fn what_the_client_encodes_the_server_decodes() {
        for text in ["", "plain-1.0_~", "a b/c?d&e=f%g+h", "é価🚀\u{0}", "../.."] {
            assert_eq!(decode(&encode(text)).unwrap(), text);
        }
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decode(bad).unwrap_err().code, Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn unknown_repeated_and_misshapen_parameters_are_refused() {
        let query = |text: &str| {
            let request = hyper::Request::builder().uri(format!("/v1/x?{text}")).body(()).unwrap();
            Query::of(&request.into_parts().0, &["a", "b"])
        };
        for refused in ["c=1", "a=1&a=2", "a=%zz", "a=%00", "%61=1&a=1"] {
            assert_eq!(query(refused).unwrap_err().code, Code::InvalidArgument, "{refused}");
        }
        assert!(query("a=x").unwrap().number("a").is_err());
        assert!(query("a=0").unwrap().bounded("a", 1, 1, 10).is_err());
        assert_eq!(query("").unwrap().bounded("a", 7, 1, 10).unwrap(), 7);
        assert!(query("a=maybe").unwrap().flag("a").is_err());
        assert!(query("a=yesterday").unwrap().instant("a").is_err());
        assert_eq!(query("a=x,%20y,").unwrap().list("a"), ["x", "y"]);
        assert_eq!(query("&a&b=1+%2B&").unwrap().text("b").unwrap(), "1 +");
    }

    #[test]
    fn the_tenant_is_decoded_and_trimmed() {
        let of = |value: &str| {
            let value = hyper::header::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            tenant(&HeaderMap::from_iter([(hyper::header::HeaderName::from_static(TENANT), value)]))
        };
        assert_eq!(of("%20b%C3%A9%20").unwrap(), "bé");
        for refused in ["", "%20", "%", "%ff", "a%00b", "é"] {
            assert_eq!(of(refused).unwrap_err().code, Code::InvalidArgument, "{refused}");
        }
    }
}
