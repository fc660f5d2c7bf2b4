//! The question of a request: path segments and parameters, percent-decoded, each used or refused.

use std::collections::BTreeMap;

use dg_projections::event::{DEFAULT_TENANT, tenant_name};
use dg_projections::{Code, Rejection};
use hyper::http::request::Parts;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const TENANT: &str = "x-tenant-id";

/// The parameters of a request. Those that nobody asked for are refused by [`Query::done`].
#[derive(Debug)]
pub(crate) struct Query {
    parameters: BTreeMap<String, String>,
}

fn invalid(message: String) -> Rejection {
    Rejection::new(Code::InvalidArgument, message)
}

impl Query {
    /// The parameters of a query string; one given twice is refused.
    pub(crate) fn of(parts: &Parts) -> Result<Query, Rejection> {
        let mut parameters = BTreeMap::new();
        for pair in parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            if parameters.insert(name.clone(), decode(&value.replace('+', " "))?).is_some() {
                return Err(invalid(format!("parameter '{name}' is given twice")));
            }
        }
        Ok(Query { parameters })
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.parameters.remove(name)
    }

    /// A parameter that must be there.
    pub(crate) fn required(&mut self, name: &str) -> Result<String, Rejection> {
        self.text(name).ok_or_else(|| invalid(format!("parameter '{name}' is missing")))
    }

    /// A comma-separated list.
    pub(crate) fn list(&mut self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<Option<i64>, Rejection> {
        let parse = |text: String| {
            text.parse().map_err(|_| {
                invalid(format!("parameter '{name}' must be an integer, not '{text}'"))
            })
        };
        self.text(name).map(parse).transpose()
    }

    /// A number within bounds.
    pub(crate) fn bounded(
        &mut self,
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

    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Rejection> {
        match self.text(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(other) => {
                Err(invalid(format!("parameter '{name}' must be true or false, not '{other}'")))
            }
        }
    }

    pub(crate) fn instant(&mut self, name: &str) -> Result<Option<OffsetDateTime>, Rejection> {
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

    /// Refuses a parameter that the route does not have: it would be ignored without a word.
    pub(crate) fn done(self) -> Result<(), Rejection> {
        match self.parameters.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(invalid(format!("this route has no parameter '{name}'"))),
        }
    }
}

/// The tenant that the request names in `x-tenant-id`, percent-encoded where it is not ASCII.
pub(crate) fn tenant(parts: &Parts) -> Result<String, Rejection> {
    match parts.headers.get(TENANT) {
        None => Ok(DEFAULT_TENANT.to_owned()),
        Some(value) => {
            let text = value
                .to_str()
                .map_err(|_| invalid(format!("header {TENANT} must be percent-encoded")))?;
            tenant_name(&decode(text)?)
        }
    }
}

/// The segments of a path.
pub(crate) fn segments(path: &str) -> Result<Vec<String>, Rejection> {
    path.trim_matches('/').split('/').map(decode).collect()
}

fn decode(text: &str) -> Result<String, Rejection> {
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
    String::from_utf8(bytes).map_err(|_| invalid(format!("'{text}' does not decode to UTF-8")))
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
            Query::of(&request.into_parts().0)
        };
        assert!(query("a=1&a=2").is_err());
        assert!(query("a=1").unwrap().done().is_err());
        assert!(query("a=x").unwrap().number("a").is_err());
        assert!(query("a=0").unwrap().bounded("a", 1, 1, 10).is_err());
        assert_eq!(query("").unwrap().bounded("a", 7, 1, 10).unwrap(), 7);
        assert!(query("a=maybe").unwrap().flag("a").is_err());
        assert!(query("a=yesterday").unwrap().instant("a").is_err());
        assert_eq!(query("a=x,%20y,").unwrap().list("a"), ["x", "y"]);
    }
}
