//! What every request passes, and what every answer says: who may come in, and what the browser may do with a page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, HeaderName, HeaderValue, LOCATION,
    ORIGIN, REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::pages::plain;
use super::work::Panel;
use crate::report::html::STYLE;

/// No request takes longer, its body included.
const LONGEST: Duration = Duration::from_mins(1);

/// Nothing from elsewhere, nothing inline, in no frame, and forms only to the panel itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What answers say besides. `same-origin` and not `no-referrer`: with that, browsers say `Origin: null` to forms.
const HEADERS: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "same-origin"),
    (CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Lets a request in, or not; and has the browser keep the answer to itself.
pub(super) async fn guard(
    State(panel): State<Arc<Panel>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match refusal(&panel, &request) {
        Some(refusal) => refusal,
        None => tokio::time::timeout(LONGEST, next.run(request))
            .await
            .unwrap_or_else(|_| plain(StatusCode::REQUEST_TIMEOUT, "This took too long.")),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refusal(panel: &Panel, request: &Request) -> Option<Response> {
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let host = header(HOST).unwrap_or_default();
    if !panel.door.is_host(host) {
        return Some(plain(
            StatusCode::MISDIRECTED_REQUEST,
            "This is not the address of the panel. Open the link that agentctl panel has printed.",
        ));
    }
    let reads = *request.method() == Method::GET || *request.method() == Method::HEAD;
    if !reads {
        if *request.method() != Method::POST {
            return Some(plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "There is no such thing.",
            ));
        }
        let elsewhere = header(HeaderName::from_static("sec-fetch-site"))
            .is_some_and(|site| site != "same-origin");
        if elsewhere || !panel.door.is_origin(header(ORIGIN), host) {
            return Some(plain(
                StatusCode::FORBIDDEN,
                "This form was not sent by a page of the panel: nothing was done.",
            ));
        }
        if panel.read_only {
            return Some(plain(
                StatusCode::FORBIDDEN,
                "This panel only shows: it was started with --read-only.",
            ));
        }
    }
    // What asks for no session says nothing of the fleet.
    if matches!(request.uri().path(), "/enter" | "/style.css") && reads {
        return None;
    }
    let cookies = header(COOKIE).unwrap_or_default();
    if panel.door.is_in(cookies, Instant::now()) {
        return None;
    }
    panel.invite();
    Some(plain(
        StatusCode::UNAUTHORIZED,
        "You have no session here, or it has ended. Open the link that agentctl panel has printed in its terminal; each works once.",
    ))
}

#[derive(Deserialize)]
pub(super) struct Entering {
    #[serde(default)]
    token: String,
}

/// The link: a session for whoever has it, once.
pub(super) async fn enter(
    State(panel): State<Arc<Panel>>,
    Query(entering): Query<Entering>,
) -> Response {
    match panel.door.enter(&entering.token, Instant::now()) {
        Ok(Some(session)) => {
            panel.tell("somebody has opened the panel with the link: if that was not you, stop it");
            let cookie = format!(
                "{}={session}; Path=/; HttpOnly; SameSite=Strict",
                panel.door.cookie()
            );
            (
                StatusCode::SEE_OTHER,
                [(LOCATION, "/".to_owned()), (SET_COOKIE, cookie)],
            )
                .into_response()
        }
        Ok(None) => {
            panel.invite();
            plain(
                StatusCode::FORBIDDEN,
                "This link was used, or is none: each works once. The terminal of agentctl panel shows the one that works.",
            )
        }
        Err(_) => plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "There is no randomness for a session.",
        ),
    }
}

/// How pages look.
pub(super) async fn style() -> Response {
    let kind = (axum::http::header::CONTENT_TYPE, "text/css; charset=utf-8");
    ([kind], STYLE).into_response()
}
