//! The description of the socket for clients and their generators; a test holds it against the table
//! of routes.

use super::asked::Handled;
use super::respond::Answer;

/// OpenAPI 3.1.
const DESCRIPTION: &str = include_str!("openapi.json");

pub(super) fn description() -> Handled {
    Ok(Answer::Document(DESCRIPTION))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dg_projections::json::{self, Json};

    use super::*;
    use crate::server::routes::ROUTES;

    /// The members of an object.
    fn members(value: &Json) -> impl Iterator<Item = (&String, &Json)> {
        value.as_object().unwrap().iter()
    }

    fn word<'a>(value: &'a Json, name: &str) -> &'a str {
        value.get(name).and_then(Json::as_str).unwrap_or_default()
    }

    /// Method, path, and parameters of the query.
    type Described = BTreeSet<(String, String, BTreeSet<String>)>;

    fn described(description: &Json) -> Described {
        let mut found = Described::new();
        for (path, operations) in members(description.get("paths").unwrap()) {
            for (method, operation) in members(operations) {
                let parameters = operation.get("parameters").unwrap().as_array().unwrap();
                let of = |place: &str| -> BTreeSet<String> {
                    let own = parameters.iter().filter(|one| word(one, "in") == place);
                    own.map(|one| word(one, "name").to_owned()).collect()
                };
                let in_braces = path.split('/').filter_map(|part| part.strip_prefix('{'));
                let in_braces = in_braces.map(|part| part.trim_end_matches('}').to_owned());
                assert_eq!(of("path"), in_braces.collect(), "{method} {path}");
                found.insert((method.to_uppercase(), path.clone(), of("query")));
            }
        }
        found
    }

    #[test]
    fn the_routes_and_no_others_are_described_with_their_parameters() {
        let routes = ROUTES.iter().map(|route| {
            let parameters = route.parameters.iter().map(|name| (*name).to_owned()).collect();
            (route.method().to_owned(), route.path.to_owned(), parameters)
        });
        assert_eq!(described(&json::parse(DESCRIPTION).unwrap()), routes.collect());
    }

    /// Every `$ref` below a value.
    fn references<'a>(value: &'a Json, found: &mut Vec<&'a str>) {
        match value {
            Json::Object(members) => {
                found.extend(members.get("$ref").and_then(Json::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Json::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn what_is_referred_to_is_there() {
        let description = json::parse(DESCRIPTION).unwrap();
        let mut found = Vec::new();
        references(&description, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let path = reference.strip_prefix("#/").unwrap();
            let there = path.split('/').try_fold(&description, |value, name| value.get(name));
            assert!(there.is_some(), "{reference}");
        }
    }
}
