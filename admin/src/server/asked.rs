//! A request as its handler sees it.

use std::future::Future;
use std::sync::Arc;

use dg_projections::{Code, Rejection};
use dg_runtime::Runtime;
use dg_store::{Store, StoreError};
use hyper::header::HeaderMap;
use hyper::http::request::Parts;

use super::Context;
use super::caller::Caller;
use super::query::{Query, TENANT, tenant};
use super::respond::{Answer, Refusal};

/// What a handler gives back.
pub(crate) type Handled = Result<Answer, Refusal>;

/// A request without its body: its parameters are those that the route has.
pub(crate) struct Asked<'a> {
    pub(crate) context: &'a Arc<Context>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) tenant: String,
    pub(crate) query: Query,
    /// Who asks.
    pub(crate) uid: Option<u32>,
}

impl<'a> Asked<'a> {
    /// # Errors
    /// `invalid_argument` for a parameter that is not among `parameters`, before anything is done.
    pub(crate) fn new(
        context: &'a Arc<Context>,
        parts: &'a Parts,
        parameters: &[&str],
    ) -> Result<Asked<'a>, Rejection> {
        Ok(Asked {
            context,
            headers: &parts.headers,
            tenant: tenant(&parts.headers)?,
            query: Query::of(parts, parameters)?,
            uid: parts.extensions.get::<Caller>().and_then(|caller| caller.uid),
        })
    }

    pub(crate) fn runtime(&self) -> Result<Arc<Runtime>, StoreError> {
        self.context.runtime.get()
    }

    /// The tenant that the request names; none if it names none.
    pub(crate) fn named_tenant(&self) -> Option<&str> {
        self.headers.contains_key(TENANT).then_some(self.tenant.as_str())
    }

    /// Asks the database, within its deadline.
    pub(crate) async fn database<T, W, F>(&self, work: W) -> Result<T, StoreError>
    where
        W: FnOnce(Store) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        self.runtime()?.gate().run(work).await
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> Rejection {
    Rejection::new(Code::InvalidArgument, message)
}

pub(crate) fn not_found(message: impl Into<String>) -> Rejection {
    Rejection::new(Code::NotFound, message)
}
