//! Tokens: the endpoints that Azure gives to a workload with a managed identity, and what ARM takes.
//!
//! Two shapes: App Service and Functions (`GET /msi/token` with `X-IDENTITY-HEADER`) and the
//! virtual machine's metadata service (`GET /metadata/identity/oauth2/token` with `Metadata: true`).
//! Tokens look like Entra ID's but nothing signs them; their times are **real** time, because
//! clients compare them with their own clock.
//! <https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference>,
//! <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>

use axum::{
    Json, Router,
    extract::{RawQuery, State as Extract},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use time::OffsetDateTime;

use super::{
    Azure,
    answer::Reply,
    call::{self, Caller},
    settings::Settings,
    state::State,
};

/// A token that was handed out.
#[derive(Debug, Clone)]
pub(super) struct Token {
    caller: Caller,
    audience: String,
    /// Real time, in seconds since 1970.
    expires: i64,
}

/// The endpoints as routes.
pub(super) fn router(azure: Azure) -> Router {
    Router::new()
        .route("/msi/token", get(app_service))
        .route("/metadata/identity/oauth2/token", get(metadata_service))
        .with_state(azure)
}

async fn app_service(
    Extract(azure): Extract<Azure>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Response {
    let secret = headers.get("x-identity-header").and_then(|value| value.to_str().ok());
    if secret != Some(&azure.inner.settings.identity_header) {
        return refuse(401, "the X-IDENTITY-HEADER header is missing or wrong");
    }
    let query = call::query(&raw.unwrap_or_default());
    if query.get("api-version").is_none_or(|version| version != "2019-08-01") {
        return refuse(400, "the api-version parameter must be 2019-08-01");
    }
    grant(&azure, &query, false)
}

async fn metadata_service(
    Extract(azure): Extract<Azure>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Response {
    let asked = headers.get("metadata").and_then(|value| value.to_str().ok());
    if !asked.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return problem(400, "invalid_request", "Required metadata header not specified");
    }
    let query = call::query(&raw.unwrap_or_default());
    if !query.contains_key("api-version") {
        return problem(400, "invalid_request", "Required query variable 'api-version' is missing");
    }
    grant(&azure, &query, true)
}

fn grant(azure: &Azure, query: &std::collections::BTreeMap<String, String>, metadata: bool) -> Response {
    let audience = match (query.get("resource"), query.get("scope")) {
        (Some(resource), _) if !resource.is_empty() => resource.clone(),
        (_, Some(scope)) if !scope.is_empty() => scope.trim_end_matches("/.default").to_owned(),
        _ => return problem(400, "invalid_resource", "AADSTS500011: the resource parameter is missing"),
    };
    let settings = &azure.inner.settings;
    let mut state = azure.lock();
    let wanted =
        query.get("client_id").or_else(|| query.get("object_id")).or_else(|| query.get("principal_id"));
    let Some(caller) = state.caller(wanted.map(String::as_str)) else {
        let text = "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.";
        return if metadata {
            problem(400, "invalid_request", "Identity not found")
        } else {
            refuse(400, text)
        };
    };
    let (token, expires) = state.token(&caller, &audience, settings);
    let mut body = json!({
        "access_token": token,
        "expires_on": expires.to_string(),
        "resource": audience,
        "token_type": "Bearer",
        "client_id": caller.client,
    });
    if metadata {
        let left = (expires - OffsetDateTime::now_utc().unix_timestamp()).to_string();
        body["expires_in"] = json!(left);
        body["ext_expires_in"] = json!(left);
        body["not_before"] = json!((expires - settings.token_seconds as i64).to_string());
    }
    Json(body).into_response()
}

fn refuse(status: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    (status, Json(json!({"statusCode": status.as_u16(), "message": message}))).into_response()
}

fn problem(status: u16, error: &str, description: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    (status, Json(json!({"error": error, "error_description": description}))).into_response()
}

impl State {
    /// The caller with this client, object or resource id, or the first one.
    fn caller(&self, id: Option<&str>) -> Option<Caller> {
        let Some(id) = id else { return self.callers.first().cloned() };
        let fits = |caller: &&Caller| {
            caller.client.eq_ignore_ascii_case(id) || caller.object.eq_ignore_ascii_case(id)
        };
        self.callers.iter().find(fits).cloned().or_else(|| {
            // A user-assigned identity of the world may be attached to whoever asks.
            let found = self.identities.values().find(|identity| {
                let ids = [&identity.client, &identity.principal, &identity.id];
                ids.iter().any(|known| known.eq_ignore_ascii_case(id))
            })?;
            Some(Caller {
                name: found.name().to_owned(),
                client: found.client.clone(),
                object: found.principal.clone(),
            })
        })
    }

    /// A token for a caller and an audience: the last one again until half its life is over, as the
    /// real endpoints do.
    pub(super) fn token(&mut self, caller: &Caller, audience: &str, settings: &Settings) -> (String, i64) {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let lifetime = i64::try_from(settings.token_seconds).unwrap_or(i64::MAX / 2);
        let fresh = self.tokens.iter().find(|(_, token)| {
            token.caller == *caller && token.audience == audience && token.expires - now > lifetime / 2
        });
        if let Some((text, token)) = fresh {
            return (text.clone(), token.expires);
        }
        let expires = now.saturating_add(lifetime);
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({"typ": "JWT", "alg": "RS256", "kid": self.random.letters(27)}));
        let payload = part(json!({
            "aud": audience,
            "iss": format!("https://sts.windows.net/{}/", self.tenant),
            "iat": now,
            "nbf": now,
            "exp": expires,
            "appid": caller.client,
            "appidacr": "2",
            "idp": format!("https://sts.windows.net/{}/", self.tenant),
            "idtyp": "app",
            "oid": caller.object,
            "sub": caller.object,
            "tid": self.tenant,
            "ver": "1.0",
        }));
        let signature = URL_SAFE_NO_PAD.encode(self.random.letters(256));
        let text = format!("{header}.{payload}.{signature}");
        let token = Token { caller: caller.clone(), audience: audience.to_owned(), expires };
        self.tokens.insert(text.clone(), token);
        (text, expires)
    }

    /// Who a bearer token for one of these audiences stands for, or ARM's refusal.
    pub(super) fn authenticate(&self, header: Option<&str>, audiences: &[String]) -> Result<Caller, Reply> {
        let bearer = header.and_then(|value| value.split_once(' '));
        let Some((_, text)) = bearer.filter(|(word, _)| word.eq_ignore_ascii_case("bearer")) else {
            return Err(self.unauthorized(
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            ));
        };
        let Some(token) = self.tokens.get(text.trim()) else {
            return Err(self.unauthorized("InvalidAuthenticationToken", "The access token is invalid."));
        };
        if token.expires <= OffsetDateTime::now_utc().unix_timestamp() {
            return Err(self.unauthorized(
                "ExpiredAuthenticationToken",
                "The access token expiry UTC time is earlier than current UTC time.",
            ));
        }
        let audience = token.audience.trim_end_matches('/');
        if !audiences.iter().any(|known| known.trim_end_matches('/') == audience) {
            return Err(self.unauthorized(
                "InvalidAuthenticationTokenAudience",
                "The access token has been obtained for wrong audience or resource.",
            ));
        }
        Ok(token.caller.clone())
    }

    fn unauthorized(&self, code: &str, message: &str) -> Reply {
        Reply::arm(401, code, message).with(
            "www-authenticate",
            format!(
                "Bearer authorization_uri=\"https://login.microsoftonline.com/{}\", error=\"invalid_token\", \
                 error_description=\"{message}\"",
                self.tenant
            ),
        )
    }
}
